"""Visual-RFT's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, Leaf, gradient


def grpo_loss(
    rewards_per_func: F32,
    num_generations: int,
    per_token_logps: Leaf,
    ref_per_token_logps: F32,
    completion_mask: F32,
    beta: float,
) -> dict[str, Any]:
    advantages = compose.grouped(rewards_per_func.sum(1), num_generations)
    loss = compose.grpo_loss(per_token_logps, advantages, completion_mask, ref=ref_per_token_logps, beta=beta)
    return {"advantages": advantages, "loss": loss, "grad_per_token_logps": gradient(loss, per_token_logps)}
