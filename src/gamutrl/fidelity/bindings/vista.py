"""VISTA's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64


def group_advantage(rewards: F32, num_generations: int) -> Tensor:
    return compose.grouped(rewards, num_generations)


def grpo_loss(logp: F64, ref: F64, adv: F64, mask: F64, beta: float) -> Tensor:
    return compose.grpo_loss(logp, adv, mask, ref=ref, beta=beta)
