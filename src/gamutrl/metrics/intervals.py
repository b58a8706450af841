"""How sure a mean over held-out rows is: 95% intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z = 1.959963984540054
"""The 97.5% quantile of the standard normal distribution."""


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of a mean: Wilson's where every value is 0 or 1, else a seeded bootstrap over rows.

    (nan, nan) without values. Wilson: Journal of the American Statistical Association 22 (1927), 209-212.
    """
    if not len(values):
        return math.nan, math.nan
    if all(value in (0.0, 1.0) for value in values):
        return wilson(sum(values), len(values))
    return bootstrap(values)


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's 95% score interval of a proportion."""
    share = successes / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def bootstrap(values: Sequence[float], draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The 95% percentile interval of a mean, resampling rows."""
    array = np.asarray(values, dtype=float)
    generator = np.random.default_rng(seed)
    means = np.array([array[generator.integers(len(array), size=len(array))].mean() for _ in range(draws)])
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def paired_difference(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """The mean of after − before over the same rows, and its 95% bootstrap interval: `(gain, low, high)`."""
    if len(before) != len(after):
        raise ValueError(f"The rows must be the same before ({len(before)}) and after ({len(after)}).")
    differences = [b - a for a, b in zip(before, after)]
    if not differences:
        return math.nan, math.nan, math.nan
    return (float(np.mean(differences)), *bootstrap(differences))
