"""UniVG-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, Leaf, gradient


def difficulty_weighted_grpo_loss(
    rewards_per_func: F32,
    num_generations: int,
    per_token_logps: Leaf,
    old_per_token_logps: F32,
    ref_per_token_logps: F32,
    completion_mask: F32,
    beta: float,
    epsilon: float,
    miou_adjust_math: str | None,
) -> dict[str, Any]:
    advantages = compose.grouped(rewards_per_func.sum(1), num_generations)
    iou = rewards_per_func[:, 0].mean()
    weight = {
        "exp": torch.exp(1 - iou),
        "log": -torch.log(0.02 + iou),
        "linear": 1.05 - iou,
    }.get(miou_adjust_math or "", 1.0)
    loss = compose.grpo_loss(
        per_token_logps,
        advantages * weight,
        completion_mask,
        old=old_per_token_logps,
        ref=ref_per_token_logps,
        beta=beta,
        low=epsilon,
    )
    return {"advantages": advantages, "loss": loss, "grad_per_token_logps": gradient(loss, per_token_logps)}
