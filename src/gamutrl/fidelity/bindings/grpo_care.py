"""GRPO-CARE's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, Leaf64, gradient
from gamutrl.functional import shaping


def ema_update(param: F64, param_ema: F64, decay: float) -> Tensor:
    return shaping.moving_average(param_ema, param, decay)


def grpo_loss(
    rewards: F64,
    num_generations: int,
    per_token_logps: Leaf64,
    ref_logps: F64,
    completion_mask: F64,
    beta: float = 0.0,
) -> dict[str, Any]:
    advantages = compose.grouped(rewards, num_generations)
    loss = compose.grpo_loss(per_token_logps, advantages, completion_mask, ref=ref_logps, beta=beta, kl={"bound": 10})
    return {"advantages": advantages, "loss": loss, "grad_logps": gradient(loss, per_token_logps)}
