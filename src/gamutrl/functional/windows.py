"""Which denoising steps are stochastic and trained: windows that slide, and draws."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch


def progressive_window(
    step: int,
    steps: int,
    size: int,
    *,
    pace: int = 1,
    overlap: int = 0,
    start: int = 0,
    wrap: bool = False,
    partial: bool = False,
) -> range:
    """MixGRPO's window at a training step (arXiv 2507.21802): every `pace` steps it moves on by size - overlap.

    steps: denoising steps. start: the first window's first. wrap: begin anew after the last window.
    partial: the last window ends with the last step, though it then moves on by less than a stride.
    """
    stride = size - overlap
    places = max(1, (steps - start - size) // stride + 1)
    place = step // max(1, pace)
    if partial:
        first = min(start + place * stride, steps - size)
        return range(first, first + size)
    place = place % places if wrap else min(place, places - 1)
    first = start + place * stride
    return range(first, first + size)


def sliding_windows(
    size: int, steps: int, stride: int, patience: Callable[[int], int], *, wrap: bool = True
) -> Iterator[range]:
    """MixGRPO's released window, one a training step: it stays for `patience(first)` steps, then moves by a stride.

    It is cut off at the last denoising step and empty beyond (released: for one stay if it begins just there); then it
    starts anew (`wrap`) or stays empty.
    """
    first = 0
    while True:
        for _ in range(patience(first)):
            yield range(first, min(first + size, steps))
        first += stride
        if first > steps:
            first = 0 if wrap else steps


def decaying_patience(first: int, steps: int, most: int, least: int) -> int:
    """How long a window stays that begins here: falling linearly from `most` at the first denoising step to `least`."""
    return max(least, int(most - (most - least) * first / steps))


def late_patience(first: int, pace: int, *, rate: float = 0.1, after: int = 13) -> int:
    """How long a window stays that begins here: `pace` up to a step, then exponentially shorter."""
    return math.ceil(pace * math.exp(-rate * max(0, first - after)))


def random_window(step: int, steps: int, size: int) -> range:
    """A window at a place drawn by the training step alone, so that all processes draw the same (UniRL)."""
    first = int(np.random.default_rng(step).integers(0, max(0, steps - size) + 1))
    return range(first, first + size)


def seeded_window(seed: int, low: int, high: int, size: int) -> range:
    """A window within [low, high), drawn by Python's generator from the seed (verl-omni)."""
    first = random.Random(seed).randint(low, high - size)
    return range(first, first + size)


def drawn_steps(step: int, pool: Sequence[int], count: int | None = None) -> list[int]:
    """`count` steps of the pool, drawn by the training step alone and sorted; all where count is None."""
    if count is None:
        return list(pool)
    if count == 0:
        return []
    return sorted(np.random.default_rng(step).choice(np.asarray(pool), count, replace=False).tolist())


def stratified(first: int, end: int, count: int, draws: Sequence[float]) -> list[int]:
    """One step out of each of `count` equal parts of [first, end), by a uniform draw each (AWM, arXiv 2509.25050)."""
    edges = np.linspace(first, end, count + 1)
    low, high = np.floor(edges[:-1]), np.floor(edges[1:])
    return [int(np.floor(a + u * (b - a))) for a, b, u in zip(low, high, draws)]


def regridded(steps: int, last: int, ratio: float) -> tuple[torch.Tensor, int]:
    """Unshifted levels with fewer of them after step `last`, and how many points those are (MixGRPO-Flash)."""
    t = torch.linspace(1, 0, steps + 1)
    points = int(max((steps - last) * ratio, 1))
    return torch.cat([t[: last + 1], torch.linspace(float(t[last + 1]), 0, points)]), points
