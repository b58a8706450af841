"""Rewards of looking closer only where it helps."""

from __future__ import annotations

from collections.abc import Sequence


def adaptive_scores(scores: Sequence[float], zoomed: Sequence[bool], *, right: float = 0.5) -> list[float]:
    """A group's scores by rank: right at once, right after zooming, wrong after zooming, wrong at once.

    Zooming costs something (0.8 for 1) only where another rollout of the group was right without it. A wrong answer
    keeps its 0.1 for the format. right: scores above it are right answers. Source: Chain-of-Focus (arXiv 2505.15436).
    """
    direct = any(score > right and not zoom for score, zoom in zip(scores, zoomed))

    def scored(score: float, zoom: bool) -> float:
        if score > right:
            return 0.8 if zoom and direct else 1.0
        return 0.5 if zoom else 0.1 if score == 0.1 else 0.0

    return [scored(score, zoom) for score, zoom in zip(scores, zoomed)]
