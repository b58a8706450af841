"""SEED-Bench-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import (
    divergences,
)


def grpo_loss(logps: F32, ref_logps: F32, advantages: F32, mask: F32, beta: float) -> dict[str, Any]:
    loss = compose.grpo_loss(logps, advantages, mask, ref=ref_logps, beta=beta, kl={"bound": 11})
    return {"loss": loss, "per_token_kl": divergences.kl_estimate(logps, ref_logps, bound=11)}
