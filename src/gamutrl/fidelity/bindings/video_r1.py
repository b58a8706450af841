"""Video-R1's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity.inputs import F32
from gamutrl.functional import advantages
from gamutrl.functional.groups import consecutive


def group_advantage(rewards: F32, group_size: int) -> Tensor:
    return advantages.group_normalize(rewards, consecutive(len(rewards), group_size))
