"""T2I-R1's released code, answered by ours."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, Leaf64, gradient


def bicot_grpo_loss(
    rewards_per_func: F64,
    num_generations: int,
    new_generations_image: int,
    beta: float,
    text_logps: Leaf64,
    text_ref_logps: F64,
    text_mask: F64,
    img_logps: Leaf64,
    img_ref_logps: F64,
) -> dict[str, Tensor]:
    advantages = compose.grouped(rewards_per_func.sum(1), num_generations * new_generations_image)
    plan, plan_ref, plan_mask = (
        x.repeat_interleave(new_generations_image, 0) for x in (text_logps, text_ref_logps, text_mask)
    )
    logps, ref = torch.cat([plan, img_logps], 1), torch.cat([plan_ref, img_ref_logps], 1)
    mask = torch.cat([plan_mask, torch.ones_like(img_logps)], 1)
    loss = compose.grpo_loss(logps, advantages, mask, ref=ref, beta=beta, over="token")
    return {
        "advantages": advantages,
        "loss": loss,
        "grad_text_logps": gradient(loss, text_logps),
        "grad_img_logps": gradient(loss, img_logps),
    }
