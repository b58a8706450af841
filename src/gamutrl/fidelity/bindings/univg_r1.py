"""UniVG-R1's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, Leaf, gradient
from gamutrl.functional import geometry
from gamutrl.rewards import boxes, parsing, tags


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
        "power": 1.05 - iou,
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


BOX = r"\(\d++,\s*+\d++\),\s*+\(\d++,\s*+\d++\)"


def iou_reward(completion: str, solution: list[float], is_coco_single_image: bool, single_img_with_cot: bool) -> float:
    def read(text: str) -> list[parsing.Detection]:
        whole = is_coco_single_image and not single_img_with_cot
        return parsing.integer_corners(text if whole else tags.tag_text(text, missing="empty"))

    overlap = partial(geometry.box_iou, min_overlap=1, inverted="signed")
    return boxes.box_score(completion, solution, read=read, overlap=overlap)


def format_reward_rec(completion: str, is_coco_single_image: bool, single_img_with_cot: bool) -> float:
    if is_coco_single_image and not single_img_with_cot:
        return float(tags.in_order(completion, [BOX]))
    return float(tags.ends_with_answer(completion.removesuffix("\n"), BOX, before=True))
