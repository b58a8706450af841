"""What a model wrote down: JSON, boxes, points and spans, read from untrusted text in linear time.

Nothing is evaluated. Numbers that are not finite, items that lack what was asked for and text that is no JSON are left
out, never an error.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

NUMBER = r"[-+]?\d{1,18}(?:\.\d{1,18})?"
_FENCE = re.compile(r"```(?:json)?[ \t]*\n?")
_FOUR = re.compile(r"[\[(]\s*+" + r"\s*+,\s*+".join([f"({NUMBER})"] * 4) + r"\s*+[\])]")
_CORNER = rf"\(\s*+({NUMBER})\s*+,\s*+({NUMBER})\s*+\)"
_CORNERS = re.compile(rf"{_CORNER}\s*+,?\s*+{_CORNER}")
INTEGER_BOX = re.compile(r"\[" + r"\s*+,\s*+".join([r"(\d{1,300}+)"] * 4) + r"\]")
_INTEGER_CORNER = r"\((\d{1,300}+),\s*+(\d{1,300}+)\)"
INTEGER_CORNERS = re.compile(rf"{_INTEGER_CORNER},\s*+{_INTEGER_CORNER}")
BOX_KEYS = ("bbox_2d", "bbox", "box_2d", "box", "Position", "position", "coordinates")
LABEL_KEYS = ("label", "name", "category", "category_name", "class")
SCORE_KEYS = ("score", "confidence", "Confidence")
POINT_KEYS = ("point_2d", "point")
MAX_LITERAL = 20_000
MAX_BOXES = 5000
"""Boxes beyond so many are not read: no answer has them, and every one costs time."""


@dataclass(frozen=True)
class Detection:
    """One object as written: its corners `(x1, y1, x2, y2)`, and what was said of it beside them."""

    box: tuple[float, float, float, float]
    label: str | None = None
    score: float | None = None
    point: tuple[float, float] | None = None


def json_in(text: str, *, repair: bool = True) -> Any:
    """The JSON value of a text, or None: from its last fence, or from its first bracket to its last.

    repair: read single quotes as double, and close a list that was cut off after its last whole object.
    """
    body = fenced(text)
    opening = min((i for i in (body.find("["), body.find("{")) if i >= 0), default=-1)
    if opening < 0:
        return None
    closing = max(body.rfind("]"), body.rfind("}")) + 1
    body = body[opening:]
    attempts = [body[: closing - opening]] if closing > opening else []
    if repair:
        last_object = body.rfind("}") + 1
        cut_off = [body[:last_object] + "]"] if last_object and body.startswith("[") else []
        attempts += cut_off + [attempt.replace("'", '"') for attempt in attempts + cut_off]
    for attempt in attempts:
        found = loads(attempt)
        if found is not None:
            return found
    return None


def loads(text: str) -> Any:
    """`json.loads`, or None for whatever is no JSON, too deep or too long a number."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def literal(text: str) -> Any:
    """The Python literal (numbers, strings, lists, tuples, dicts) that a text is, or None. Parsed, never evaluated."""
    if len(text) > MAX_LITERAL:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def fenced(text: str) -> str:
    """The inside of the last ``` fence of a text, closed or cut off; the text itself if it has none."""
    marks = [(mark.start(), mark.end()) for mark in _FENCE.finditer(text)]
    if not marks:
        return text
    if len(marks) % 2:
        return text[marks[-1][1] :]
    return text[marks[-2][1] : marks[-1][0]]


def boxes_in(text: str, *, repair: bool = True) -> list[Detection]:
    """The boxes of a text, in order, in whichever notation it has them.

    Read are, the first that is there: JSON (a list of objects with a box, of boxes, or one of either), corners
    `(x1,y1),(x2,y2)`, four numbers in brackets.
    """
    found = detections(json_in(text, repair=repair))
    if found:
        return found
    rows = list(islice(_CORNERS.finditer(text), MAX_BOXES)) or list(islice(_FOUR.finditer(text), MAX_BOXES))
    return [Detection((float(m[1]), float(m[2]), float(m[3]), float(m[4]))) for m in rows]


def integer_boxes(text: str) -> list[Detection]:
    """The boxes written exactly as `[x1, y1, x2, y2]` with plain integers (VLM-R1, R1-OneVision, RePIC)."""
    return [Detection((float(m[1]), float(m[2]), float(m[3]), float(m[4]))) for m in INTEGER_BOX.finditer(text)]


def integer_corners(text: str) -> list[Detection]:
    """The boxes written exactly as `(x1,y1),(x2,y2)` with plain integers (UniVG-R1)."""
    return [Detection((float(m[1]), float(m[2]), float(m[3]), float(m[4]))) for m in INTEGER_CORNERS.finditer(text)]


def detections(value: Any) -> list[Detection]:
    """The boxes of a row's column or of parsed JSON: text, one object or box, or a list of them, None for none."""
    if isinstance(value, str):
        return boxes_in(value)
    return list(islice(_detections(value), MAX_BOXES))


def _detections(value: Any) -> Iterator[Detection]:
    box = numbers(value, 4)
    if box is not None:
        yield Detection(box)  # type: ignore[arg-type]
    elif isinstance(value, dict):
        box = numbers(_first(value, BOX_KEYS), 4)
        if box is not None:
            label, score = _first(value, LABEL_KEYS), numbers([_first(value, SCORE_KEYS)], 1)
            yield Detection(
                box,  # type: ignore[arg-type]
                label if isinstance(label, str) else None,
                score[0] if score else None,
                numbers(_first(value, POINT_KEYS), 2),  # type: ignore[arg-type]
            )
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            if not isinstance(item, str):
                yield from _detections(item) if isinstance(item, dict) or numbers(item, 4) is not None else ()


def numbers(value: Any, count: int | None = None) -> tuple[float, ...] | None:
    """A list of (so many) finite numbers, or None. Booleans are none."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list | tuple) or (count is not None and len(value) != count):
        return None
    if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
        return None
    try:
        read = tuple(float(item) for item in value)
    except OverflowError:
        return None
    return read if all(map(math.isfinite, read)) else None


def _first(value: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((value[key] for key in keys if key in value), None)
