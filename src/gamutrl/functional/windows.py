"""Which denoising steps are stochastic and trained: windows that slide, and draws."""

from __future__ import annotations

import random
from collections.abc import Sequence

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
