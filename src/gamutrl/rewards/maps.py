"""Rewards of maps: where things were said to lie on a grid, against where they lie (SpaceR, 2504.01805)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gamutrl.functional.geometry import point_distance
from gamutrl.functional.matching import best_pair_first
from gamutrl.rewards.parsing import literal

Places = Mapping[str, Sequence[Sequence[float]]]
"""Points `[x, y]` by the name of the thing that lies there."""

_NUMBER = re.compile(r"-?\d{1,18}(?:\.\d{1,18})?")


def map_score(found: Places, true: Places, *, size: float = 10.0) -> float:
    """How near things were placed, weighted by how many of each there are. In [0, 1]; two empty maps agree.

    Points of one name are paired nearest first; a pair is worth 1 - distance / diagonal of the grid, at least 0, and a
    name the sum of its pairs over the larger of the two counts.
    """
    total = sum(len(points) for points in true.values())
    if not total:
        return float(not any(len(points) for points in found.values()))
    value = sum(len(points) * _near(found.get(name, ()), points, size) for name, points in true.items())
    return value / total


def places_in(text: str, names: Sequence[str]) -> dict[str, list[list[int]]]:
    """The map that a text holds: `{"chair": [[1, 2], [3, 4]]}`, or the numbers that follow each name in prose."""
    known = {name.strip().lower() for name in names if isinstance(name, str) and name.strip()}
    text = text.strip()
    wrapped = re.fullmatch(r"str\{(\{.*\})\}", text, re.DOTALL)
    text = wrapped[1] if wrapped else text
    if not known or not text:
        return {}
    value = literal(text) if text.startswith("{") and text.endswith("}") else None
    return _of_dict(value, known) if isinstance(value, dict) else _of_prose(text, known)


def _near(found: Sequence[Any], true: Sequence[Any], size: float) -> float:
    if not found or not true:
        return 0.0
    value_NM = (1 - point_distance(found, true) / (size * math.sqrt(2))).clamp(min=0)
    pairs = best_pair_first(value_NM)
    return float(value_NM[pairs[:, 0], pairs[:, 1]].sum()) / max(len(found), len(true))


def _of_dict(value: dict[Any, Any], known: set[str]) -> dict[str, list[list[int]]]:
    found: dict[str, list[list[int]]] = {}
    for key, points in value.items():
        name = re.sub(r"^[^\w\s]+|[^\w\s]+$", "", str(key).lower().strip())
        read = [_point(point) for point in (points if isinstance(points, list) else [points])]
        if name in known and any(read):
            found.setdefault(name, []).extend(point for point in read if point)
    return found


def _of_prose(text: str, known: set[str]) -> dict[str, list[list[int]]]:
    longest_first = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    names = list(re.finditer(rf"(?<![A-Za-z])(?:{longest_first})(?![A-Za-z])", text, re.IGNORECASE))
    found: dict[str, list[list[int]]] = {}
    for i, match in enumerate(names):
        end = names[i + 1].start() if i + 1 < len(names) else len(text)
        numbers = [int(float(number)) for number in _NUMBER.findall(text[match.end() : end])]
        if len(numbers) > 1:
            found.setdefault(match[0].lower(), []).extend(
                [x, y] for x, y in zip(numbers[: len(numbers) // 2 * 2 : 2], numbers[1::2])
            )
    return found


def _point(value: Any) -> list[int] | None:
    if isinstance(value, str):
        value = _NUMBER.findall(value)[:2]
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    try:
        return [int(float(part.strip("<[( >])") if isinstance(part, str) else part)) for part in value]
    except (TypeError, ValueError, OverflowError):
        return None
