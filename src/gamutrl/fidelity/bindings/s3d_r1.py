"""3D-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.environments import views
from gamutrl.fidelity.inputs import F64
from gamutrl.functional import divergences
from gamutrl.rewards import boxes3d, tags, thoughts


def kl_to_reference(logits_current: F64, logits_ref: F64) -> Tensor | float:
    if logits_current is None or logits_ref is None or logits_current.shape != logits_ref.shape:
        return 0.0
    kl = divergences.kl_full(logits_ref.log_softmax(-1), logits_current.log_softmax(-1))
    return kl.sum() / len(logits_current)


def extract_boxes(text: str) -> list[list[list[float]]]:
    return [boxes3d.corners(box) for box in boxes3d.boxes3d_in(text)]


def perception_reward(text: str, gt_boxes: list[list[float]]) -> float:
    return boxes3d.best_overlap(text, gt_boxes)


def format_reward(text: str) -> float:
    thought, answer = tags.tag_text(text, "think", strip=False), tags.tag_text(text)
    long = thought is not None and len(f"<think>{thought}</think>") > 20
    return 0.5 * (thought is not None and answer is not None) + 0.25 * long + 0.25 * (answer is not None)


def scene30k_filter(output: str, question: str, answer_from_think: str, min_answer_words: int = 20) -> dict[str, Any]:
    fault, similarity = thoughts.trace_fault(output, question, answer_from_think, answer_words=min_answer_words)
    return {"keep": fault == "ok", "reason": fault, "similarity": similarity}


def view_utility(
    text_relevance: list[float],
    coverage: list[float],
    clip_alignment: list[float],
    num_selected: int = 4,
    wt: float = 0.3,
    wc: float = 0.5,
    wclip: float = 0.5,
) -> dict[str, Any]:
    utility = views.view_utility(text_relevance, coverage, clip_alignment, weights=(wt, wc, wclip))
    return {"utility": utility, "selected": views.best(utility, num_selected)}
