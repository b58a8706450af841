"""Rewards of length, as functions of numbers: shapes that reward short answers, windows, or long thoughts."""

from __future__ import annotations

import math

from gamutrl.rewards.tags import tag_text


def thought_share(text: str, *, tag: str = "think", characters: int = 1200) -> float:
    """The length of the thought, as a share of so many characters, at most 1 (TinyLLaVA-Video-R1)."""
    return min(len(tag_text(text, tag, missing="empty")) / characters, 1.0)


def cosine_length(
    length: float,
    right: bool,
    *,
    longest: float = 1024,
    when_right: tuple[float, float] = (1.0, 0.5),
    when_wrong: tuple[float, float] = (0.0, -0.5),
    clip: bool = True,
) -> float:
    """A value that moves along half a cosine from its first (length 0) to its second (length `longest`).

    clip: longer is no different from longest; without it the cosine comes back up, as in VLM-R1's code. Source: Yeo et
    al. 2025 (arXiv 2502.03373), eq. 1.
    """
    first, last = when_right if right else when_wrong
    share = min(length / longest, 1.0) if clip else length / longest
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
