"""In what order rows come, and which of them: shuffled, sorted, in pools, chosen by a column's value.

A view (`Between`, `Gaussian`, `Spread`) is itself a set of rows; an order (`Shuffled`, `Ordered`, `Pools`) is a source.
`by` names the column to choose or sort by.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from gamutrl.core import Prompt
from gamutrl.data.base import Rows
from gamutrl.data.problems import DataError


@dataclass(frozen=True)
class Shuffled:
    """Every row once an epoch, each epoch in an order of its own."""

    rows: Rows

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        total = len(self.rows)
        return _drawn(self.rows, total, index, size, lambda epoch: permutation(total, seed, epoch))


@dataclass(frozen=True)
class Ordered:
    """Rows sorted by the column `by`, equal ones in file order; the same every epoch (observe-r1: easy to hard)."""

    rows: Rows
    by: str
    descending: bool = False

    @cached_property
    def _order(self) -> np.ndarray:
        values = numbers(self.rows, self.by)
        return np.argsort(-values if self.descending else values, kind="stable")

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        return _drawn(self.rows, len(self._order), index, size, lambda epoch: self._order)


class _View:
    """Some of `rows`: what every view shares."""

    rows: Rows
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> Prompt:
        return self.rows[int(self.places[row])]

    def column(self, name: str) -> list[Any]:
        values = self.rows.column(name)
        return [values[place] for place in self.places.tolist()]

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        return Shuffled(self).batch(index, size, seed)


@dataclass(frozen=True)
class Between(_View):
    """Rows whose column `by` lies in [low, high]; `open_ends` leaves the ends out (a pass rate inside (0, 1))."""

    rows: Rows
    by: str
    low: float = -math.inf
    high: float = math.inf
    open_ends: bool = False

    @cached_property
    def places(self) -> np.ndarray:  # type: ignore[override]
        values = numbers(self.rows, self.by)
        if self.open_ends:
            inside = (values > self.low) & (values < self.high)
        else:
            inside = (values >= self.low) & (values <= self.high)
        return _some(np.flatnonzero(inside), f"has {self.by} between {self.low:g} and {self.high:g}")


@dataclass(frozen=True)
class Gaussian(_View):
    """`size` rows drawn once, without replacement, with p ∝ exp(−(value − mean)² / 2 std²) (time-r1: 0.3, 0.2)."""

    rows: Rows
    by: str
    mean: float
    std: float
    size: int
    seed: int = 0

    @cached_property
    def places(self) -> np.ndarray:  # type: ignore[override]
        values = numbers(self.rows, self.by)
        log_weight = -((values - self.mean) ** 2) / (2 * self.std**2)
        # The largest of log-weights plus Gumbel noise are a draw without replacement (Efraimidis and Spirakis 2006).
        noisy = log_weight + _random(self.seed, len(values)).gumbel(size=len(values))
        return _some(np.sort(np.argsort(-noisy, kind="stable")[: self.size]), "was there to draw from")


@dataclass(frozen=True)
class Spread(_View):
    """`size` rows at even ranks of a column (time-r1's filter)."""

    rows: Rows
    by: str
    size: int

    @cached_property
    def places(self) -> np.ndarray:  # type: ignore[override]
        order = np.argsort(numbers(self.rows, self.by), kind="stable")
        ranks = np.unique(np.linspace(0, len(order) - 1, min(self.size, len(order))).round().astype(np.int64))
        return _some(np.sort(order[ranks]), "was there to draw from")


@dataclass(frozen=True)
class Pools:
    """Rows that agree in the column `by` come in one batch, marked with one `Prompt.pool`.

    size 0: all rows of a value are one pool (an image and its mirror: svqa-r1). size k: each epoch the rows of a value
    are shuffled and cut into pools of k, and fewer than k left over sit that epoch out (eight pictures of one scale:
    visualquality-r1). A batch is filled with whole pools up to n rows; an unfilled last one is left out.
    """

    rows: Rows
    by: str
    size: int = 0

    @cached_property
    def _groups(self) -> list[np.ndarray]:
        groups: dict[str, list[int]] = {}
        for place, value in enumerate(self.rows.column(self.by)):
            groups.setdefault(str(value), []).append(place)
        kept = [np.array(places) for places in groups.values() if len(places) >= self.size]
        if not kept:
            raise DataError(f"No value of {self.by!r} has {self.size} rows to make a pool of.")
        return kept

    @cached_property
    def _served(self) -> dict[tuple[int, int], list[int]]:
        """For each (size, seed): how many batches there are up to the end of each epoch so far."""
        return {}

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        ends = self._served.setdefault((size, seed), [])
        while not ends or ends[-1] <= index:
            ends.append((ends[-1] if ends else 0) + len(self._epoch(size, seed, len(ends))))
        epoch = next(e for e, end in enumerate(ends) if index < end)
        pools = self._epoch(size, seed, epoch)[index - (ends[epoch - 1] if epoch else 0)]
        return [
            replace(self.rows[int(place)], pool=f"{self.by}/{index}/{k}")
            for k, places in enumerate(pools)
            for place in places
        ]

    def _epoch(self, n: int, seed: int, epoch: int) -> list[list[np.ndarray]]:
        """An epoch's batches, each a list of pools."""
        rng = _random(seed, epoch)
        pools: list[np.ndarray] = []
        for group in self._groups:
            if self.size:
                group = rng.permutation(group)
                pools += [group[k : k + self.size] for k in range(0, len(group) - self.size + 1, self.size)]
            else:
                pools.append(group)
        largest = max(map(len, pools))
        if largest > n:
            raise DataError(f"A pool of {largest} rows (by {self.by!r}) does not fit a batch of {n} prompts.")
        batches: list[list[np.ndarray]] = [[]]
        held = 0
        for k in rng.permutation(len(pools)):
            if held + len(pools[k]) > n:
                batches.append([])
                held = 0
            batches[-1].append(pools[k])
            held += len(pools[k])
        unfilled = len(batches) > 1 and held + largest <= n
        return batches[:-1] if unfilled else batches


def numbers(rows: Rows, column: str) -> np.ndarray:
    """A column as float64, one a row. Raises `DataError` naming the first row that has no number."""
    values = rows.column(column)
    found = np.empty(len(values))
    for k, value in enumerate(values):
        try:
            found[k] = float(value)
        except (TypeError, ValueError):
            found[k] = math.nan
        if math.isnan(found[k]):
            raise DataError(f"Row {k} has {str(value)[:40]!r} in {column!r}, where a number is needed to choose by.")
    return found


@lru_cache(maxsize=64)
def permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    """An epoch's order."""
    return _random(seed, epoch).permutation(size)


def _random(*seeds: int) -> np.random.Generator:
    return np.random.default_rng([seed % (1 << 64) for seed in seeds])


def _drawn(rows: Rows, total: int, index: int, size: int, order: Callable[[int], np.ndarray]) -> list[Prompt]:
    """Items index · size and on of the epochs laid end to end."""
    items = range(index * size, (index + 1) * size)
    return [rows[int(order(item // total)[item % total])] for item in items]


def _some(places: np.ndarray, what: str) -> np.ndarray:
    if not len(places):
        raise DataError(f"No row {what}.")
    return places
