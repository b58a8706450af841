"""Rewards of time: one span found, a set of spans, a box in every frame."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Literal

import torch

from gamutrl.functional.geometry import box_iou, span_iou, span_set_iou
from gamutrl.rewards.boxes import Overlap
from gamutrl.rewards.parsing import json_in, numbers
from gamutrl.rewards.tags import tag_text

Span = tuple[float, float]
Read = Callable[[str], list[Span] | None]
"""How the spans of a completion are found; None is no answer, an empty list says that there is no such event."""

MAX_SPANS = 5000
"""Spans beyond so many are not read: no answer has them, and every one costs time."""

_NUMBER = r"(?<![\d.])\d{1,12}+(?:\.\d{0,12}+)?"
_CLOCK = rf"(?:\d{{1,4}}+:\d\d(?::\d\d)?(?:\.\d{{1,12}}+)?|{_NUMBER})"
_UNIT = r"\s?+(?:s|secs?|seconds?)?+"
_PAIR = re.compile(rf"({_CLOCK}){_UNIT}\s*+(?:to|and|until|-|–|,)\s*+({_CLOCK})", re.IGNORECASE)
_BARE_PAIR = re.compile(r"(?<!\d)(\d++\.?\d*+) (?:to|and) (\d++\.?\d*+)", re.IGNORECASE)


def spans_in(text: str) -> list[Span]:
    """The spans of a text, in seconds, in order: JSON (`start_time`, `end_time` or `start`, `end`; lists of pairs),
    else "a to b", "a and b", "a - b", with or without seconds' unit, as numbers or as m:ss.
    """
    found = spans_of(json_in(text))[:MAX_SPANS]
    if found:
        return found
    return [(to_seconds(match[1]), to_seconds(match[2])) for match in islice(_PAIR.finditer(text), MAX_SPANS)]


def bare_spans_in(text: str) -> list[Span]:
    """The spans written exactly as "a to b" or "a and b", single blanks and no units (Time-R1, VideoChat-R1)."""
    return [(float(match[1][:300]), float(match[2][:300])) for match in _BARE_PAIR.finditer(text)][-MAX_SPANS:]


def to_seconds(text: str) -> float:
    """Seconds of `83.5`, `1:23.5` or `0:01:23.5`."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def in_answer(
    text: str, *, which: Literal["first", "last"] = "last", spans: Callable[[str], list[Span]] = spans_in
) -> list[Span] | None:
    """The spans that a completion gives as its tagged answer; None where it gives no answer."""
    given = tag_text(text, which=which)
    return None if given is None else spans(given)


def span_score(
    text: str,
    answer: Any,
    duration: float | None = None,
    *,
    read: Read = in_answer,
    denominator: Literal["union", "hull"] = "union",
    boundaries: bool = False,
    clip: bool = True,
    ordered: bool = True,
    zero_length: float = 1.0,
) -> float:
    """Temporal IoU of the last span written with the true one.

    boundaries: times 1 - |start error| / duration and 1 - |end error| / duration (Time-R1, 2503.13377), each at least 0
    (clip). ordered: a span that ends before it starts is wrong. zero_length: the value of one moment found.
    """
    found, (start, end) = read(text), _truth(answer)
    if not found or (ordered and found[-1][0] > found[-1][1]):
        return 0.0
    value = span_iou(found[-1], (start, end), denominator=denominator, zero_length=zero_length)
    if boundaries and duration:
        least = 0.0 if clip else -math.inf
        value *= max(least, 1 - abs(found[-1][0] - start) / duration) * max(
            least, 1 - abs(found[-1][1] - end) / duration
        )
    return value


def span_set_score(text: str, answer: Any, *, read: Read = in_answer, both_empty: float = 1.0) -> float:
    """IoU of the time that the spans written cover with the time that the true ones cover (VideoChat-R1, VAU-R1)."""
    found = read(text)
    if found is None or any(start > end for start, end in found):
        return 0.0
    return span_set_iou(found, list(spans_of(answer)), both_empty=both_empty)


def track_score(found: Sequence[Any] | None, answer: Sequence[Any], *, overlap: Overlap = box_iou) -> float:
    """The mean overlap of the box in each frame with the true one; 0 unless there is one for every frame."""
    read = [numbers(box, 4) for box in found or ()]
    if len(read) != len(answer) or None in read or not read:
        return 0.0
    return float(torch.diagonal(overlap(read, answer)).mean())


def _truth(answer: Any) -> Span:
    found = spans_in(answer) if isinstance(answer, str) else list(spans_of(answer))
    if not found:
        raise ValueError(f"A row's answer must be a span [start, end] in seconds, not {answer!r}.")
    return found[0]


def spans_of(value: Any) -> list[Span]:
    """The spans of one pair or object, or of a list of them."""
    if isinstance(value, dict):
        ends = [value.get(f"{key}_time", value.get(key)) for key in ("start", "end")]
        pair = numbers([_as_number(end) for end in ends], 2)
    else:
        pair = numbers(value, 2)
    if pair is not None:
        return [(pair[0], pair[1])]
    return [span for item in value for span in spans_of(item)] if isinstance(value, list | tuple) else []


def _as_number(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(_CLOCK, value.strip()):
        return to_seconds(value.strip())
    return value
