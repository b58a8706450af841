"""TinyLLaVA-Video-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import (
    divergences,
)


def group_advantage(rewards: F32, group_size: int) -> Tensor:
    return compose.grouped(rewards, group_size)


def grpo_loss(logps: F32, ref_logps: F32, advantages: F32, mask: F32, beta: float) -> dict[str, Any]:
    loss = compose.grpo_loss(logps, advantages, mask, ref=ref_logps, beta=beta, kl={"clamp": 100})
    return {"loss": loss, "per_token_kl": divergences.kl_estimate(logps, ref_logps, clamp=100)}
