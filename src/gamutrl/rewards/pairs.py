"""Preference pairs: which of several samples are chosen and rejected, and how sure a scorer is of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")
K = TypeVar("K")


def gap(score: float, other: float) -> float:
    """How much more probable it is that one is better, under a softmax of two scores; in (-1, 1)."""
    return math.tanh((score - other) / 2)


def preferred(score: float, other: float, *, threshold: float = 0.0) -> float:
    """1 if one is better by more than a gap, 0 if the other is, ½ if neither (SPO, 2406.04314)."""
    lead = gap(score, other)
    return 1.0 if lead > threshold else 0.0 if -lead > threshold else 0.5


def dominance(one: Sequence[float], other: Sequence[float]) -> int:
    """1 if one is nowhere worse and somewhere better, -1 if the other is, else 0 (D3PO, 2311.13231)."""
    if all(a >= b for a, b in zip(one, other)):
        return int(any(a > b for a, b in zip(one, other)))
    return -int(all(a <= b for a, b in zip(one, other)))


def first_best(items: Sequence[T], key: Callable[[T], Any]) -> T:
    """The item of the largest key, the first of equal ones. Raises ValueError without items."""
    return max(items, key=key)


def first_worst(items: Sequence[T], key: Callable[[T], Any]) -> T:
    """The item of the smallest key, the first of equal ones. Raises ValueError without items."""
    return min(items, key=key)


def both_good_and_bad(
    accuracy: Sequence[float], grounding: Sequence[float], *, good: float = 0.8, bad: float = 0.2
) -> tuple[int, int] | None:
    """The first candidate that is best and well grounded, and the first that is worst and badly so (VisRL, 2503.07523).

    None where the best is not good, the worst not bad, or no such candidate is grounded accordingly.
    """
    best, worst = max(accuracy, default=0.0), min(accuracy, default=1.0)
    if best < good or worst > bad:
        return None
    rows = list(enumerate(zip(accuracy, grounding)))
    chosen = next((i for i, (value, box) in rows if value == best and box >= good), None)
    rejected = next((i for i, (value, box) in rows if value == worst and box <= bad), None)
    return None if chosen is None or rejected is None else (chosen, rejected)


def all_pairs(
    chosen: Sequence[T], rejected: Sequence[T], *, most: int, rng: Random, skip: Callable[[T, T], bool]
) -> list[tuple[T, T]]:
    """Every chosen with every rejected, but for those to skip; a random `most` of them where there are more (MPO)."""
    pairs = [(one, other) for one, other in product(chosen, rejected) if not skip(one, other)]
    return rng.sample(pairs, most) if len(pairs) > most else pairs


def pairs_by_key(
    chosen: Mapping[K, Sequence[T]],
    rejected: Mapping[K, Sequence[T]],
    *,
    most: int,
    seed: int = 0,
    skip: Callable[[T, T], bool],
) -> list[tuple[K, T, T]]:
    """`all_pairs` of the chosen and the rejected samples of each key (a question), drawn anew for each (MPO)."""
    return [
        (key, one, other)
        for key, good in chosen.items()
        for one, other in all_pairs(good, rejected.get(key, ()), most=most, rng=Random(seed), skip=skip)
    ]


def best_and_worst(scores: Sequence[float], *, above: float = -math.inf) -> tuple[int, int] | None:
    """The first best and the first worst; None where none is above a score, or all are alike (HermesFlow)."""
    if not scores or max(scores) <= above or max(scores) == min(scores):
        return None
    return scores.index(max(scores)), scores.index(min(scores))


def against_before(scores: Sequence[float], best_before: float) -> tuple[int, bool]:
    """A next round's best sample, which is chosen, and whether what was chosen before is rejected (HermesFlow).

    It is where the new best beats it; else what was rejected before stays so.
    """
    best = first_best(range(len(scores)), scores.__getitem__)
    return best, scores[best] > best_before


def kept_prefix(text: str, share: float) -> str:
    """The first so many of a text's words, to be continued without the picture (MPO's Dropout NTP)."""
    words = text.split(" ")
    return " ".join(words[: int(len(words) * share)]).strip()
