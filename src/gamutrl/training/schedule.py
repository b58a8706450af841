"""Numbers that change with progress: any number of a stage may be one of these."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """From `start` to `end` in a straight line over the share `until` of the stage, then constant."""

    start: float
    end: float
    until: float = 1.0

    def __call__(self, progress: float) -> float:
        return self.start + (self.end - self.start) * min(1.0, progress / self.until if self.until else 1.0)


@dataclass(frozen=True)
class Cosine:
    """From `start` to `end` along half a cosine over the share `until` of the stage, then constant."""

    start: float
    end: float = 0.0
    until: float = 1.0

    def __call__(self, progress: float) -> float:
        done = min(1.0, progress / self.until if self.until else 1.0)
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Steps:
    """Piecewise constant: `values[i]` up to and including the progress `until[i]`; the last `until` is 1."""

    until: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, progress: float) -> float:
        for limit, value in zip(self.until, self.values):
            if progress <= limit:
                return value
        return self.values[-1]


Number = float | Linear | Cosine | Steps


def at(number: Number, progress: float) -> float:
    """The number's value at a progress in [0, 1]."""
    return number(progress) if callable(number) else float(number)
