"""Rewards of length, as functions of numbers: shapes that reward short answers, windows, or long thoughts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

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


def bell_length(length: float, solution: float, *, target: float = 2.0, most: float = 2.5) -> float:
    """exp(-(|length - target| / (most - target))²), both in units of the first solution's length (SRPO, 2506.01713)."""
    if solution <= 0:
        return 0.0
    return math.exp(-((abs(length / solution - target) / (most - target)) ** 2))


def shorter_is_better(lengths: Sequence[float], right: Sequence[bool]) -> list[float]:
    """½ - (length - shortest) / (longest - shortest) where right, at most 0 where wrong; 0 if all lengths are equal.

    Source: Kimi k1.5 (arXiv 2501.12599), section 2.3.3.
    """
    low, high = min(lengths, default=0), max(lengths, default=0)
    if low == high:
        return [0.0] * len(lengths)
    values = [0.5 - (length - low) / (high - low) for length in lengths]
    return [value if ok else min(0.0, value) for value, ok in zip(values, right)]


_STEP = re.compile(r"Step \d++:|\A\d++\.|\n-|\n\*|First,|Second,|Next,|Finally,")


def reasoning_steps(text: str, *, full: int = 3) -> float:
    """The number of words and marks that open a step of reasoning, as a share of `full`, at most 1 (Open-R1)."""
    return min(1.0, sum(1 for _ in _STEP.finditer(text)) / full)
