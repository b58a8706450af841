"""Win rates: every item of a group against every other, by a judge who sees two at a time (Pref-GRPO, 2508.20751)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain, combinations, repeat
from typing import Any, NamedTuple

from gamutrl.rewards.combine import weighted_mean
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


class Judged(NamedTuple):
    """A group's win rates: overall, by category (None: not compared in it), their mean, and the reward of both.

    mean is 0 and `known` False for an item that was compared in no category; its reward is the overall rate.
    """

    reward: list[float]
    overall: list[float]
    mean: list[float]
    known: list[bool]
    by_category: dict[str, list[float | None]]


def judged(
    count: int,
    verdicts: Sequence[Any],
    category_weights: Sequence[float] = (),
    *,
    weights: tuple[float, float] = (1.0, 1.0),
    digits: int | None = 3,
) -> Judged:
    """Rewards of `count` items whose pairs were judged overall and by categories of the judge's own choice.

    verdicts: `{"winner": …, "categories": […]}` in the order of `itertools.combinations`; what is no such thing is a
    draw. category_weights: of the categories in the order in which they first appear, then 1. weights: of the overall
    rate and of the categories' mean. digits: rates are rounded to so many.
    """

    def rated(shares: Sequence[float | None]) -> list[float | None]:
        return [None if rate is None else _rounded(rate, digits) for rate in win_rates(count, shares)]

    winners = [verdict.get("winner") if isinstance(verdict, dict) else None for verdict in verdicts]
    overall = [rate or 0.0 for rate in rated([SHARE[named_winner(winner)] for winner in winners])]
    shares = [category_shares(verdict) for verdict in verdicts]
    names = dict.fromkeys(name for share in shares for name in share)
    by_category = {name: rated([share.get(name) for share in shares]) for name in names}
    weight = dict(zip(names, chain(category_weights, repeat(1.0))))
    rows = [
        [(rate, weight[name]) for name, rates in by_category.items() if (rate := rates[i]) is not None]
        for i in range(count)
    ]
    mean = [_rounded(weighted_mean(row), digits) for row in rows]
    reward = [
        weighted_mean([(one, weights[0]), (other, weights[1])]) if row else one
        for one, other, row in zip(overall, mean, rows)
    ]
    return Judged(reward, overall, mean, [bool(row) for row in rows], by_category)


def filled(values: Sequence[float | None]) -> list[float]:
    """Scores with the mean of the others where one is missing; 0 where all are."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else 0.0
    return [mean if value is None else value for value in values]


def _rounded(value: float, digits: int | None) -> float:
    return value if digits is None else round(value, digits)
