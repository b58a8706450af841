"""Rewards of looking closer: only where it helps, in other places than before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from gamutrl.rewards.parsing import literal, loads
from gamutrl.rewards.tags import tagged_blocks


def adaptive_scores(scores: Sequence[float], zoomed: Sequence[bool], *, right: float = 0.5) -> list[float]:
    """A group's scores by rank: right at once, right after zooming, wrong after zooming, wrong at once.

    Zooming costs something (0.8 for 1) only where another rollout of the group was right without it. A wrong answer
    keeps its 0.1 for the format. right: scores above it are right answers. Source: Chain-of-Focus (arXiv 2505.15436).
    """
    direct = any(score > right and not zoom for score, zoom in zip(scores, zoomed))

    def scored(score: float, zoom: bool) -> float:
        if score > right:
            return 0.8 if zoom and direct else 1.0
        return 0.5 if zoom else 0.1 if score == 0.1 else 0.0

    return [scored(score, zoom) for score, zoom in zip(scores, zoomed)]


def distinct_points(points: Iterable[Sequence[float]], apart: float = 10.0) -> list[Sequence[float]]:
    """The points that lie at least so far from every one kept before them."""
    kept: list[Sequence[float]] = []
    for one in points:
        if all(math.dist(one, other) >= apart for other in kept):
            kept.append(one)
    return kept


def pointed_layout(
    text: str, *, each: float = 0.2, most: int | None = None, apart: float = 10.0, point: bool = False
) -> float:
    """1 for turns in order, readable looks at points and an answer, plus `each` for every further place; else 0.

    The text is the conversation after the prompt, observations included: (think, tool_call, observation)*, think,
    answer. A call's `coordinate` is two whole numbers; a place counts if it lies `apart` from all that counted. most:
    places that are paid for. point: the answer must be a point. Source: ViGoRL (arXiv 2505.23678).
    """
    text = text.strip().removesuffix("<|im_end|>").rstrip().lower()
    blocks = list(tagged_blocks(text, ("think", "tool_call", "observation", "answer")))
    kinds, looks = [tag for tag, _ in blocks], len(blocks) // 3
    if kinds != [*("think", "tool_call", "observation") * looks, "think", "answer"] or not text.endswith("</answer>"):
        return 0.0
    points = [_coordinate(inside) for tag, inside in blocks if tag == "tool_call"]
    said = blocks[-1][1].strip()
    if not all(points) or not (_is_point(said) if point else said):
        return 0.0
    places = len(distinct_points(filter(None, points), apart))
    return 1 + each * max(0, (places if most is None else min(places, most)) - 1)


def _coordinate(call: str) -> Sequence[int] | None:
    value = loads(call)
    arguments = value.get("arguments") if isinstance(value, dict) and isinstance(value.get("name"), str) else None
    point = arguments.get("coordinate") if isinstance(arguments, dict) else None
    return point if _whole(point) else None


def _is_point(said: str) -> bool:
    return said.startswith("(") and said.endswith(")") and _whole(literal(said))


def _whole(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value)
