"""How often a scorer agrees with people on which of two is better."""

from __future__ import annotations

from collections.abc import Sequence


def accuracy(label: Sequence[int], margin: Sequence[float]) -> float | None:
    """The share of decided labels (1, -1) whose sign the margin (first score - second) has; None without any."""
    right = [sign * value > 0 for sign, value in zip(label, margin) if sign]
    return sum(right) / len(right) if right else None


def accuracy_with_ties(label: Sequence[int], margin: Sequence[float]) -> float:
    """The best agreement over all thresholds up to which a margin counts as a tie (label 0); 0 without labels.

    Source: Deutsch et al. 2023 (arXiv 2305.14324), as VideoReward uses it (2501.13918): thresholds are the margins.
    """
    best = 0.0
    for threshold in {abs(value) for value in margin}:
        tied = [abs(value) <= threshold for value in margin]
        right = [same if sign == 0 else not same and sign * value > 0 for sign, value, same in zip(label, margin, tied)]
        best = max(best, sum(right) / len(right))
    return best
