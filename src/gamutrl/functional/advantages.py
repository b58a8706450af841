"""Rewards to advantages: what each rollout, or each of its actions, was worth.

R rollouts with their groups (`group_R`, any labels); N trained rows of T actions. A NaN reward («does not apply»)
leaves its group's statistics, and its own advantage is 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gamutrl.functional.groups import group_count, group_mean, group_variance

Scale = Literal["group", "batch", "none"]


def group_normalize(
    reward_R: Tensor,
    group_R: Tensor,
    *,
    scale: Scale = "group",
    unbiased: bool = True,
    eps: float = 1e-4,
    eps_inside: bool = False,
    singleton: Literal["zero", "raw", "nan"] = "zero",
    clip: float | None = None,
) -> Tensor:
    """(reward - group mean) / deviation, `[R]` (GRPO, arXiv 2402.03300, section 4.1.1).

    scale: the deviation is that of the group, of the whole batch, or none is divided by (Dr. GRPO, arXiv 2503.20783).
    unbiased: divide the squares by n - 1, not n. eps: added to the deviation, or (eps_inside) to the variance under
    the root. singleton: a group of one gets 0, keeps its raw reward (mean 0, deviation 1), or NaN. clip: bound on the
    absolute advantage. Computed in float64, so that a group without spread gets exactly 0.
    """
    _check_vector(reward_R, group_R)
    reward = reward_R.double()
    count = group_count(reward, group_R)
    mean = group_mean(reward, group_R)
    alone = count == 1
    if singleton == "raw":
        mean = mean.masked_fill(alone, 0.0)
    advantage = reward - mean
    if scale != "none":
        of_R = group_R if scale == "group" else torch.zeros_like(group_R)
        variance = group_variance(reward, of_R, unbiased)
        if scale == "group" and singleton != "nan":
            variance = variance.masked_fill(alone, 1.0 if singleton == "raw" else 0.0)
        deviation = (variance + eps).sqrt() if eps_inside else variance.sqrt() + eps
        advantage = torch.where(deviation == 0, 0.0, advantage / deviation)
    if clip is not None:
        advantage = advantage.clamp(-clip, clip)
    return advantage.masked_fill(reward.isnan(), 0.0).to(reward_R.dtype)


def _check_vector(*tensors: Tensor) -> None:
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(f"Rewards and groups must be vectors of one length [R], not {shapes}.")
