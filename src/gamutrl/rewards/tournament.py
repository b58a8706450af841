"""Win rates: every item of a group against every other, by a judge who sees two at a time (Pref-GRPO, 2508.20751)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from gamutrl.rewards.tags import tag_text

_NAMED = re.compile(r"\b(?:image|video)\s*+([12])\b", re.IGNORECASE)
SHARE = {1: 1.0, 2: 0.0, None: 0.5}
"""What the first of a pair gets by who wins; nobody is half each."""


def win_rates(count: int, shares: Sequence[float | None]) -> list[float | None]:
    """The mean share of each of `count` items in its pairs; None for one that was compared with nobody.

    shares: what the first of each pair gets (1, ½, 0; None: not compared), in the order of `itertools.combinations`.
    """
    won: list[list[float]] = [[] for _ in range(count)]
    for (i, j), share in zip(combinations(range(count), 2), shares):
        if share is not None:
            won[i].append(share)
            won[j].append(1 - share)
    return [sum(mine) / len(mine) if mine else None for mine in won]


def answered_winner(text: str, first: str, second: str) -> int | None:
    """Which of two sentences ("Image 1 is better") the first answer holds, 1 or 2, the first before the second."""
    said = tag_text(text, missing="empty")
    return 1 if first in said else 2 if second in said else None


def named_winner(text: Any) -> int | None:
    """The one of image (or video) 1 and 2 that a text names; None if it names both or neither."""
    named = {match[1] for match in _NAMED.finditer(text)} if isinstance(text, str) else set()
    return int(named.pop()) if len(named) == 1 else None


def category_shares(verdict: Any, most: int = 3) -> Mapping[str, float]:
    """What the first of a pair gets in each category of a verdict, `{"categories": [{"name", "cat_winner"}, …]}`."""
    rows = verdict.get("categories") if isinstance(verdict, dict) else None
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return {str(row.get("name") or "category"): SHARE[named_winner(row.get("cat_winner"))] for row in rows[:most]}


def filled(values: Sequence[float | None]) -> list[float]:
    """Scores with the mean of the others where one is missing; 0 where all are."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else 0.0
    return [mean if value is None else value for value in values]
