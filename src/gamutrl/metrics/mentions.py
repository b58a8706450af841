"""Whether captions name the people and things that are theirs (RePIC, 2506.18369)."""

from __future__ import annotations

from collections.abc import Sequence

MISSED = "MISS"
"""Somebody else was named instead."""


def named_in(caption: str, names: Sequence[str], others: set[str]) -> list[str | None]:
    """For each name: itself if the caption says it, MISSED if it says one of the others instead, else None.

    Names are words, with or without angle brackets; case counts.
    """
    words = {word.strip(".,!?;:()[]{}\"'-").strip("<>") for word in caption.split()}
    missed = MISSED if words & (others - set(names)) else None
    return [name if name in words else missed for name in names]


def precision_recall_f1(said: Sequence[str | None], true: Sequence[str]) -> tuple[float, float, float]:
    """Of what was said the share that is true, of what is true the share that was said, and their harmonic mean."""
    right = sum(one == other for one, other in zip(said, true))
    precision, recall = right / max(sum(one is not None for one in said), 1), right / max(len(true), 1)
    return precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0
