"""R1-Onevision's released code, answered by ours."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F64, Leaf64
from gamutrl.functional import geometry
from gamutrl.rewards import answers, boxes, maths, parsing, tags


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


LETTER = r"(?<![A-Z])([A-D])(?![A-Z])"


def format_reward(content: str) -> float:
    return tags.tag_format(content)


def extract_choice(text: str) -> str | None:
    return released.weighed_choice(text, LETTER)


def _named(sol: str) -> str | None:
    found = re.search(r"answer:\s*+([a-z])", sol, re.IGNORECASE)
    return found[1].upper() if found else None


def mcq_reward(content: str, sol: str) -> float:
    said = extract_choice(tags.tag_text(content, missing="whole"))
    return float(said is not None and said == (_named(sol) or sol.strip()))


def default_accuracy_reward(content: str, sol: str) -> float:
    if maths.math_equal(sol, content):
        return 1.0
    said, asked = (tags.tag_text(text, missing="whole", multiline=False) for text in (content, sol))
    if any(char.isdigit() for char in asked):
        return answers.same_text(said, asked)
    if _named(asked):
        return float(extract_choice(said) == _named(asked))
    return answers.edit_similarity(said.lower(), asked.rstrip(".").lower(), kind="indel", both_empty=1.0)


def iou_reward(content: str, sol: list[float]) -> float:
    def read(text: str) -> list[parsing.Detection]:
        return parsing.integer_boxes(tags.tag_text(text, missing="empty"))

    overlap = partial(geometry.box_iou, min_overlap=1, inverted="signed")
    return float(boxes.box_score(content, sol, read=read, overlap=overlap) > 0.5)
