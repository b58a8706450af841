"""Visual-RFT's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F32, Leaf, gradient
from gamutrl.functional import geometry
from gamutrl.rewards import answers, boxes, tags


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


def format_reward(completion: str) -> float:
    return tags.tag_format(completion)


def accuracy_reward_iou(completion: str, solution: str) -> float:
    true = released.visual_rft_boxes(solution.strip(), tag_first=False)
    return boxes.detection_iou(completion, [d.box for d in true or []], read=released.visual_rft_boxes)


def accuracy_reward_confidence(completion: str, solution: str) -> float:
    true = released.visual_rft_boxes(solution.strip(), tag_first=False)
    if true is None:
        return 0.0
    return boxes.detection_confidence(completion, [d.box for d in true], read=released.visual_rft_boxes)


def accuracy_reward_cls(completion: str, solution: str) -> float:
    compare = partial(answers.contains, either=True, empty=True)
    return answers.accuracy(completion, solution, compare=compare, missing="whole", multiline=False)


def accuracy_reward_lisa_giou(completion: str, solution: str) -> float:
    said, asked = (tags.tag_text(text, multiline=False, missing="whole") for text in (completion, solution))
    if said == asked:
        return 2.0
    true = released.visual_rft_corners(asked) or []
    overlap = partial(geometry.box_giou, inverted="sorted")
    found = released.visual_rft_corners(said)
    return float(overlap(found[0].box, true[0].box)) + 1 if found and true else 0.0
