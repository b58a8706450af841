"""What lengths do to a reward, and coefficients that move during training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from gamutrl.functional.groups import group_mean


def soft_overlong(length_R: Tensor, limit: int, buffer: int, penalty: float = 1.0, *, floored: bool = True) -> Tensor:
    """0 up to limit - buffer actions, then down to -penalty at the limit, `[R]` (DAPO, arXiv 2503.14476, equation 13).

    floored: it stays at -penalty beyond the limit, and does not fall on. A buffer of 0 is a step at the limit.
    """
    length_R = length_R.to(torch.get_default_dtype())
    if buffer == 0:
        return torch.where(length_R > limit, -penalty, 0.0)
    over_R = ((length_R - (limit - buffer)) / buffer * penalty).clamp(min=0)
    return -over_R.clamp(max=penalty) if floored else -over_R


def length_rank(length_R: Tensor, correct_R: Tensor) -> Tensor:
    """½ down to -½ from the shortest to the longest; never above 0 for a wrong one, `[R]` (Kimi k1.5, 2501.12599)."""
    length_R = length_R.to(torch.get_default_dtype())
    spread = length_R.max() - length_R.min()
    if spread == 0:
        return torch.zeros_like(length_R)
    value_R = 0.5 - (length_R - length_R.min()) / spread
    return torch.where(correct_R.bool(), value_R, value_R.clamp(max=0))


def concise_bonus(
    length_R: Tensor, correct_R: Tensor, group_R: Tensor, bonus: float = 0.2, at_least: float = 100
) -> Tensor:
    """A bonus for the shortest right answer of each group, if it is longer than `at_least`, `[R]` (Observe-R1)."""
    bonus_R = torch.zeros(len(length_R))
    for group in group_R.unique():
        right = ((group_R == group) & correct_R.bool()).nonzero().flatten()
        if len(right) and length_R[right].min() > at_least:
            bonus_R[right[length_R[right].argmin()]] = bonus
    return bonus_R


def difficulty_weight(correct_R: Tensor, group_R: Tensor, scale: float = 1.0) -> Tensor:
    """4 · scale · d (1 - d), d the share of a group's rollouts that are right, `[R]` (Observe-R1, arXiv 2505.12432)."""
    share_R = group_mean(correct_R.to(torch.get_default_dtype()), group_R)
    return 4 * scale * share_R * (1 - share_R)


def adapted_coefficient(value: float, current: float, target: float, pace: float) -> float:
    """A KL coefficient moved towards its target: value · (1 + clip(current / target - 1, ±0.2) · pace) (1909.08593)."""
    return value * (1 + max(-0.2, min(0.2, current / target - 1)) * pace)


def moving_average(average: Tensor, value: Tensor, decay: float) -> Tensor:
    """decay · average + (1 - decay) · value, as it is done for each weight of a reference that follows the policy."""
    return torch.lerp(value, average, decay)


def schedule(
    start: float, end: float, progress: float, shape: Literal["constant", "linear", "cosine"] = "linear"
) -> float:
    """From start at progress 0 to end at progress 1, straight or along half a cosine."""
    if shape == "constant":
        return start
    share = progress if shape == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return start + (end - start) * share


def piecewise(x: float, points: Sequence[tuple[float, float]], *, beyond: bool = False) -> float:
    """Straight lines through (x, y) points in order; flat before the first and after the last, or (beyond) going on."""
    for (left, low), (right, high) in pairwise(points):
        if x <= right or (beyond and (right, high) == points[-1]):
            return low if x <= left else low + (high - low) * (x - left) / (right - left)
    return points[-1][1]
