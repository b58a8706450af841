"""TimeMaster's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, Labels


def grpo_outcome_advantage(rewards: F32, group_index: Labels, mask: F32) -> Tensor:
    return compose.outcome(rewards, group_index, mask)
