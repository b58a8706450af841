"""R1-Onevision's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, Leaf64


def grpo_loss(
    rewards: F64,
    num_generations: int,
    per_token_logps: Leaf64,
    ref_logps: F64,
    completion_mask: F64,
    beta: float = 0.04,
) -> dict[str, Any]:
    answer = compose.on_policy(rewards, num_generations, per_token_logps, ref_logps, completion_mask, beta)
    return {"advantages": answer["advantages"], "loss": answer["loss"], "grad_logps": answer["grad"]}
