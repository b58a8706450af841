"""VLM-R1's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

from rapidfuzz.distance import Indel
from torch import Tensor

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F32, F64
from gamutrl.functional import geometry
from gamutrl.functional.matching import COCO_THRESHOLDS
from gamutrl.rewards import answers, boxes, lengths, maths, parsing, repetition, tags


def grpo_advantage(rewards_per_func: F32, num_generations: int) -> Tensor:
    return compose.grouped(rewards_per_func.sum(1), num_generations)


def grpo_loss(
    per_token_logps: F64,
    old_per_token_logps: F64,
    ref_per_token_logps: F64,
    advantages: F64,
    completion_mask: F64,
    beta: float,
    epsilon_low: float,
    epsilon_high: float,
) -> Tensor:
    return compose.grpo_loss(
        per_token_logps,
        advantages,
        completion_mask,
        old=old_per_token_logps,
        ref=ref_per_token_logps,
        beta=beta,
        low=epsilon_low,
        high=epsilon_high,
    )


iou = partial(geometry.box_iou, min_overlap=1, inverted="signed")
LETTER = r"(?<![A-Z])([A-Z])(?=[.,?!:;]|$)"


def format_reward(content: str) -> float:
    return tags.tag_format(content)


def rec_format_reward(content: str) -> float:
    parts = ["<think>", r"</think>\s*+<answer>", r"\{", r"\[\d+,\s*+\d+,\s*+\d+,\s*+\d+\]", r"\}", "</answer>"]
    return float(tags.in_order(content, parts))


def rec_iou(box1: list[float], box2: list[float]) -> float:
    return float(iou(box1, box2))


def rec_iou_reward(content: str, gt_box: list[float], image_w: int, image_h: int, grid_h: int, grid_w: int) -> float:
    def read(text: str) -> list[parsing.Detection]:
        return parsing.integer_boxes(tags.tag_text(text, missing="empty"))

    shown, original = (14 * grid_w, 14 * grid_h), (image_w, image_h)
    return boxes.box_score(content, gt_box, shown, original, read=read, overlap=iou)


def od_length_reward(content: str, sol: str, thresholds: Any = COCO_THRESHOLDS, length: bool = True) -> float:
    said, asked = tags.tag_text(content, which="last"), tags.tag_text(sol)
    if said is None:
        return 0.0
    if said == asked == "None":
        return 1.0
    found, true = released.fenced_items(said), released.fenced_items(asked or "")
    if not found or not true:
        return float(not found and not true)
    factor = min(1.0, len(true) / len(found)) if length else 1.0
    read = partial(lambda text, items: parsing.detections(items), items=found)
    return factor * boxes.detection_ap(content, true, read=read, thresholds=thresholds, length_factor=False)


def od_ap_reward(content: str, sol: str) -> float:
    return od_length_reward(content, sol, length=False)


def od_ap50_reward(content: str, sol: str) -> float:
    return od_length_reward(content, sol, thresholds=(0.5,), length=False)


def weighted_sum_detection_score(content: str, sol: str) -> float:
    said, asked = (released.fenced_items(released.clean_text(text), "first") for text in (content, sol))
    return boxes.detection_balance("", asked, read=lambda text: parsing.detections(said), overlap=iou)


def all_match_reward(content: str, sol: str) -> float:
    return answers.same_text(released.clean_text(content), released.clean_text(sol))


def yes_no_reward(content: str, sol: str) -> float:
    said = tags.tag_text(content.lower(), missing="whole")
    asked = tags.tag_text(sol.lower(), missing="whole", multiline=False)
    return float(answers.first_of(said, ("yes", "no")) == answers.first_of(asked, ("yes", "no")))


def mcq_reward(content: str, sol: str) -> float:
    said = released.weighed_choice(tags.tag_text(content, missing="whole"), LETTER)
    return float(said is not None and said == (released.weighed_choice(sol, LETTER) or sol.strip()))


def default_accuracy_reward(content: str, sol: str) -> float:
    said = tags.tag_text(content, which="last", missing="whole")
    asked = tags.tag_text(sol, missing="whole", multiline=False)
    if maths.math_equal(asked, said):
        return 1.0
    clean = released.clean_text(said), released.clean_text(asked)
    numbers = [released.plain_float(text) for text in clean]
    if any(c.isdigit() for c in asked):
        return Indel.normalized_similarity(*clean) if None in numbers else float(numbers[0] == numbers[1])
    letter = released.weighed_choice(asked, LETTER)
    if letter is not None:
        return float(released.weighed_choice(said, LETTER) == letter)
    return answers.edit_similarity(*clean, kind="indel")


def cosine_length_reward(n_tokens: int, acc_reward: float) -> float:
    return lengths.cosine_length(n_tokens, True, clip=False)


def repetition_reward(content: str) -> float:
    return repetition.repeated_boxes(content)
