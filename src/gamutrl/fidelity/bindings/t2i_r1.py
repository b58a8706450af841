"""T2I-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose, released_generation
from gamutrl.fidelity.inputs import F64, Leaf64, gradient
from gamutrl.rewards import composition


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


def detection_prompt(nouns: list[str]) -> dict[str, Any]:
    caption, spans, phrases = composition.grounding_prompt(nouns, ends_only=True)
    return {"text_prompt": caption, "token_spans": spans, "phrases": phrases}


def _relation(locality: str, box: Any, other: Any) -> float:
    return composition.relation_score(locality, box, other, relations=released_generation.T2I_R1_RELATIONS)


def determine_position(locality: str, box1: dict[str, float], box2: dict[str, float]) -> float:
    sides = ("x_min", "y_min", "x_max", "y_max")
    return _relation(locality, [box1[side] for side in sides], [box2[side] for side in sides])


def object_score(phrases: list[str], nouns: list[str]) -> float:
    return sum(noun in phrases for noun in nouns) / len(nouns)


def numeracy_score(
    boxes: list[Any], phrases: list[str], logits_per_noun: list[list[float]], numeracy_info: list[dict[str, Any]]
) -> float:
    scores, total = [score for row in logits_per_noun for score in row], 0.0
    for item in numeracy_info:
        mine = [n for n, phrase in enumerate(phrases) if phrase == item["obj_name"]]
        count = composition.distinct_count([boxes[n] for n in mine], [scores[n] for n in mine])
        total += 1.0 if count == item["num"] else 0.2 * (count > 0)
    return total / len(numeracy_info)


def spatial_score(
    boxes_cxcywh: list[Any], phrases: list[str], logits_per_noun: list[list[float]], spatial_info: dict[str, str]
) -> float:
    boxes = composition.from_center(boxes_cxcywh).tolist()
    found = list(zip([score for row in logits_per_noun for score in row], phrases, boxes))
    named = [[(score, box) for score, phrase, box in found if phrase == spatial_info[key]] for key in ("obj1", "obj2")]
    best = [max(mine)[1] for mine in named if mine]
    related = _relation(spatial_info["locality"], *best) if len(best) == 2 else 0.0
    return 0.2 * len(best) + 0.5 * related
