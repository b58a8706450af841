"""Rewards of finding the right pages, in the right order."""

from __future__ import annotations

import math
from collections.abc import Sequence


def ndcg(retrieved: Sequence[str], golden: Sequence[str]) -> float:
    """Discounted gain of the right ones among what was retrieved, over that of an ideal order; 0 if none is right.

    The ideal retrieves every golden page, however few were asked for. Source: VRAG-RL (2505.22019).
    """
    right = set(golden)
    gained = sum(1 / math.log2(rank + 2) for rank, page in enumerate(retrieved) if page in right)
    ideal = sum(1 / math.log2(rank + 2) for rank in range(len(golden)))
    return gained / ideal if ideal else 0.0
