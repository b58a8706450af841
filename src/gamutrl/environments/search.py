"""Choosing the branch of a search tree to follow."""

from __future__ import annotations

import math


def upper_confidence(value: float, visits: int, parent_visits: int, *, exploration: float = 2.0) -> float:
    """value + exploration · √(log(parent visits + 1) / (visits + 1)): UCB1, counts shifted by one (ViGoRL)."""
    return value + exploration * math.sqrt(math.log(parent_visits + 1) / (visits + 1))
