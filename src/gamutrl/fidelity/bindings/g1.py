"""G1's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, Labels


def grpo_outcome_advantage(scores: F32, index: Labels, length: int) -> Tensor:
    return compose.outcome(scores, index)


def kl_penalty(lp: F64, ref: F64, kind: str) -> Tensor:
    return compose.verl_kl(lp, ref, kind)


def policy_loss(old: F64, new: F64, adv: F64, mask: F64, clip: float) -> list[Tensor]:
    answer = compose.verl_loss(new, old, adv, mask, clip)
    return [answer["loss"], answer["clipped"], answer["kl"]]
