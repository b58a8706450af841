"""Rewards of a thought that holds boxes and is thought over again before the answer (GRIT, arXiv 2505.15879)."""

from __future__ import annotations

import re
from typing import Any

from gamutrl.rewards.answers import to_number
from gamutrl.rewards.tags import has_marks, marks, tag_text

_QUADRUPLE = re.compile(r"\b(\d++),\s*+(\d++),\s*+(\d++),\s*+(\d++)\b")


def boxes_in_thought(text: str) -> list[list[float]]:
    """Every four whole numbers before the second thought."""
    return [[float(side[:18]) for side in found] for found in _QUADRUPLE.findall(text.partition("<rethink>")[0])]


def answer_in(text: str) -> str:
    """What follows the first answer mark, up to the closing one if there is any; "" without a mark."""
    return text.partition("<answer>")[2].partition("</answer>")[0].strip()


def answer_mark(text: str) -> float:
    """0.25 for an answer mark, 0.5 for exactly one."""
    return {0: 0.0, 1: 0.5}.get(text.count("<answer>"), 0.25)


def grounded_thought(text: str, answer: Any, counting: bool, *, count: float = 1.0) -> float:
    """0.5 for a box before the second thought, and `count` for as many as the answer says, where things are counted."""
    boxes = len(boxes_in_thought(text))
    return 0.5 * (boxes > 0) + count * (counting and to_number(answer) == boxes) if "<rethink>" in text else 0.0


def rethinking_marks(text: str) -> float:
    """A tenth for each of the four marks in their order, and one more for a thought of at least two words."""
    rest, points = text, 0
    for mark in (*marks("think"), *marks("rethink")):
        if mark in rest:
            points, rest = points + 1, rest.partition(mark)[2]
    words = re.findall(r"[a-zA-Z0-9]+", tag_text(text, "think", missing="empty"))
    return (points + (points == 4 and len(words) >= 2)) / 10


def rethinking_pairs(text: str) -> float:
    """The paper's: 0.5 for each pair of marks."""
    return 0.5 * has_marks(text, ("think",)) + 0.5 * has_marks(text, ("rethink",))
