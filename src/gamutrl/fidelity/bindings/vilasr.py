"""ViLaSR's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, Labels


def grpo_outcome_advantage(scores: F32, index: Labels) -> Tensor:
    return compose.outcome(scores, index)


def policy_loss(old: F32, new: F32, adv: F32, mask: F32, low: float, high: float, dual: float) -> list[Tensor]:
    answer = compose.verl_loss(new, old, adv, mask, low, high, dual)
    return [answer["loss"], answer["clipped"], answer["capped"], answer["kl"]]
