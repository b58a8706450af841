"""Answers about charts: equal as texts or lists, or as numbers within five percent (ChartQA's relaxed accuracy)."""

from __future__ import annotations

import re
from typing import Any

from gamutrl.rewards.answers import to_number


def relaxed_match(given: str, truth: Any, *, tolerance: float = 0.05, bare_lists: bool = False) -> float:
    """1 if the answer is the true one: a number within a relative `tolerance`, the same items, or the same text.

    Of an answer to a number only its digits and dots are read, if need be; a ratio `a:b` is its quotient. bare_lists:
    only the truth's list stands in brackets, the answer's are part of its items (released VISTA).
    """
    one, other = given.lower().strip(), str(truth).lower().strip()
    if re.fullmatch(r"[\d.]+", other):
        one = re.sub(r"[^\d.]", "", one)
    if other.endswith("]"):
        said = one if bare_lists else one.strip("[]")
        return float(sorted(re.split(r" and |, ", said)) == sorted(other.strip("[]").split(", ")))
    wanted = _value(other)
    if wanted:
        value = _value(one)
        value = to_number(re.sub(r"[^\d.]", "", one)) if value is None else value
        if value is not None:
            return float(abs(value - wanted) / abs(wanted) <= tolerance)
    return float(one == other)


def _value(text: str) -> float | None:
    first, colon, second = text.removesuffix("%").partition(":")
    value, divisor = to_number(first), to_number(second) if colon else 1.0
    return value / divisor if value is not None and divisor else None
