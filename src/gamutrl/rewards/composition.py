"""Does a picture show what its prompt asks for: objects, how many, how they lie, from what a detector found in it.

Boxes are `[x1, y1, x2, y2]` in any unit, y downwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gamutrl.data.asked import RELATIONS
from gamutrl.functional.geometry import as_boxes, box_centers, box_iou


def relation_score(
    relation: str,
    box: Any,
    other: Any,
    *,
    overlap: float = 0.1,
    distance: float = 150.0,
    relations: Mapping[str, str] = RELATIONS,
) -> float:
    """How well one box lies to another as a relation says, in [0, 1]; 0 for a relation that is not known.

    The centres' offset must point that way on its longer axis; overlapping costs overlap / IoU. "near" counts offsets
    up to `distance`, in the boxes' unit. Source: T2I-CompBench (2307.06350); T2I-R1 (2505.00703).
    """
    dx, dy = (box_centers(box) - box_centers(other))[0].tolist()
    way = relations.get(relation)
    if way == "near":
        return 1.0 if min(abs(dx), abs(dy)) < distance else distance / max(abs(dx), abs(dy))
    along = {"left": (-dx, dy), "right": (dx, dy), "top": (-dy, dx), "bottom": (dy, dx)}.get(way or "")
    if along is None or along[0] <= abs(along[1]):
        return 0.0
    return min(1.0, overlap / max(float(box_iou(box, other)), 1e-9))


def relative_positions(box: Any, other: Any, *, tolerance: float = 0.1) -> set[str]:
    """Where a box lies to another: any of "left of", "right of", "above", "below" (GenEval, 2310.11513).

    The offset of the centres is shortened by `tolerance` of both sizes and measured against its whole length.
    """
    a, b = as_boxes(box)[0], as_boxes(other)[0]
    offset = (box_centers(a) - box_centers(b))[0]
    sizes = (a[2:4] - a[:2]).abs() + (b[2:4] - b[:2]).abs()
    shortened = (offset.abs() - tolerance * sizes).clamp(min=0) * offset.sign()
    if (shortened.abs() < 1e-3).all():
        return set()
    x, y = (shortened / offset.norm()).tolist()
    names = (("left of", x < -0.5), ("right of", x > 0.5), ("above", y < -0.5), ("below", y > 0.5))
    return {name for name, holds in names if holds}


def shows(
    detections: Mapping[str, Sequence[Any]], colors: Mapping[str, Sequence[str]], asked: Mapping[str, Any]
) -> bool:
    """Whether a picture shows all that is asked for and nothing that is excluded (GenEval's verdict).

    asked: `include` and `exclude`, lists of `{"class", "count"}`; what is included may have a `color`, and a
    `position` `(relation, index of an earlier one)`. detections: boxes by class, the surest first.
    """
    matched: list[list[Any]] = []
    for wanted in asked.get("include", ()):
        count = wanted["count"]
        found = list(detections.get(wanted["class"], ()))[:count]
        named = list(colors.get(wanted["class"], ()))[:count]
        relation, index = wanted.get("position") or (None, 0)
        if len(found) < count or ("color" in wanted and named.count(wanted["color"]) < count):
            return False
        if relation and not all(
            relation in relative_positions(box, other) for box in found for other in matched[index]
        ):
            return False
        matched.append(found)
    return not any(len(detections.get(one["class"], ())) >= one["count"] for one in asked.get("exclude", ()))


def distinct_count(boxes: Any, score: Any, *, above: float = 0.5) -> int:
    """How many boxes are left when the surer of two that overlap by more than `above` suppresses the other."""
    return len(distinct_boxes(boxes, score, above=above))


def distinct_boxes(boxes: Any, score: Any, *, above: float = 0.5) -> list[int]:
    """The numbers of the boxes that are left, the surest first, when of two that overlap more the surer suppresses."""
    box_N4 = as_boxes(boxes)
    iou_NN = box_iou(box_N4, box_N4)
    kept: list[int] = []
    for n in torch.as_tensor(score, dtype=torch.float64).argsort(descending=True, stable=True).tolist():
        if not (iou_NN[n, kept] > above).any():
            kept.append(n)
    return kept


def from_center(box_N4: Any) -> Tensor:
    """Boxes given as `[center x, center y, width, height]`, `[N, 4]`."""
    box_N4 = as_boxes(box_N4)
    center, half = box_N4[:, :2], box_N4[:, 2:] / 2
    return torch.cat([center - half, center + half], 1)


def grounding_prompt(nouns: Sequence[str], *, ends_only: bool = False) -> tuple[str, list[list[list[int]]], list[str]]:
    """A detector's caption `car . zebra.`, where the words of each noun stand in it, and the phrase they make.

    ends_only: only a noun's first and last word count, so that one of three words is never found (released T2I-R1).
    """
    spans, phrases, position = [], [], 0
    for noun in nouns:
        words, start = [], position
        for word in noun.split():
            begin = position + noun.index(word, start - position)
            words.append([begin, begin + len(word)])
            start = begin + len(word)
        words = [words[0], words[-1]] if ends_only and len(words) > 2 else words
        spans.append(words)
        phrases.append(" ".join(noun[begin - position : end - position] for begin, end in words))
        position += len(noun) + 3
    return " . ".join(nouns) + "." if nouns else "", spans, phrases
