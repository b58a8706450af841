"""Answers that are a set of calls, `change_color(2, red), remove(5, cube)`: exact ones, and credit for near ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

Call = tuple[str, str, str]
"""`(function, object, value)`."""

_CALL = re.compile(r"(?<!\w)(\w++)\((\w++),\s*+'?(\w++)'?\)")
_NEARNESS: tuple[Callable[[Call], Any], ...] = (
    lambda call: call,
    lambda call: call[:2],
    lambda call: (call[0], call[2]),
    lambda call: call[0],
)


def calls_in(text: str) -> list[Call]:
    """The calls of two arguments in a text, in order; the second may stand in quotes."""
    return [(match[1], match[2], match[3]) for match in _CALL.finditer(text)]


def calls_score(given: str, truth: Any, *, credits: Sequence[float] = (1.0, 0.5, 0.5, 0.25)) -> float:
    """The share of true calls that were made, with credit for near ones; calls made twice cost.

    credits: of a call that is exact, right but for its value, right but for its object, right in its function alone.
    Exact ones are paired first, then each next kind among what is left. Source: Reason-RFT (2503.20752); (1, 0, 0, 0)
    is its released choice, (1, -0.25, -0.25, -0.5) its penalising one.
    """
    made, wanted = calls_in(given), calls_in(str(truth))
    left, free = list(dict.fromkeys(made)), list(dict.fromkeys(wanted))
    if not left or not free:
        return 0.0
    unit = len(left) / len(made) / max(len(left), len(free))
    value = 0.0
    for nearness, credit in zip(_NEARNESS, credits):
        for call in left.copy():
            match = next((other for other in free if nearness(other) == nearness(call)), None)
            if match is not None:
                left.remove(call)
                free.remove(match)
                value += credit * unit
    return value
