"""Choosing the views of a scene that a question needs."""

from __future__ import annotations

from collections.abc import Sequence


def view_utility(
    relevance: Sequence[float],
    coverage: Sequence[float],
    likeness: Sequence[float],
    *,
    weights: tuple[float, float, float] = (0.3, 0.5, 0.5),
) -> list[float]:
    """What each view is worth: relevance to the question, plus coverage and likeness by their shares (3D-R1).

    weights: of the relevance, and of the other two against each other.
    """
    text, covered, alike = weights
    shares = (covered / (covered + alike), alike / (covered + alike))
    return [text * r + shares[0] * c + shares[1] * a for r, c, a in zip(relevance, coverage, likeness)]


def best(values: Sequence[float], count: int) -> list[int]:
    """The places of the `count` largest values, the largest first, equal ones in their order."""
    return sorted(range(len(values)), key=lambda i: -values[i])[:count]


def thinned_halves(count: int, most: int = 8) -> list[int]:
    """The frames kept of two videos that stand one after another: `most` in all, evenly spaced in each half."""
    if count <= most:
        return list(range(count))
    half, each = count // 2, most // 2
    return [start + i * half // each for start in (0, half) for i in range(each)]
