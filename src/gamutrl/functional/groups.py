"""Statistics of groups: what every advantage that compares rollouts with each other stands on.

A NaN reward belongs to no group: it leaves the statistics, and its own result is NaN (or what the caller fills in).
"""

from __future__ import annotations

import torch
from torch import Tensor


def group_index(group_R: Tensor) -> tuple[Tensor, int]:
    """Group labels, whatever they are, as 0 … G-1 and the number G."""
    labels, index_R = torch.unique(group_R, return_inverse=True)
    return index_R, len(labels)


def group_sum(value_R: Tensor, group_R: Tensor) -> Tensor:
    """Each rollout's group sum `[R]`; NaN counts as absent."""
    index_R, groups = group_index(group_R)
    sum_G = torch.zeros(groups, dtype=value_R.dtype, device=value_R.device)
    return sum_G.index_add(0, index_R, value_R.nan_to_num(0.0, posinf=None, neginf=None))[index_R]


def group_count(value_R: Tensor, group_R: Tensor) -> Tensor:
    """How many rollouts of each rollout's group have a value `[R]`."""
    return group_sum((~value_R.isnan()).to(value_R.dtype), group_R)


def group_mean(value_R: Tensor, group_R: Tensor) -> Tensor:
    """Each rollout's group mean `[R]`; NaN where the whole group has no value."""
    return group_sum(value_R, group_R) / group_count(value_R, group_R)


def group_variance(value_R: Tensor, group_R: Tensor, unbiased: bool = True) -> Tensor:
    """Each rollout's group variance `[R]`, two-pass; unbiased divides by n - 1 (NaN for a group of one)."""
    square_R = (value_R - group_mean(value_R, group_R)).square()
    return group_sum(square_R, group_R) / (group_count(value_R, group_R) - int(unbiased))


def group_rank(value_R: Tensor, group_R: Tensor) -> Tensor:
    """Each rollout's place in its group, 0 for the lowest value; equal values in order of appearance, int64 `[R]`."""
    index_R, groups = group_index(group_R)
    by_value = value_R.argsort(stable=True)
    order = by_value[index_R[by_value].argsort(stable=True)]
    size_G = torch.bincount(index_R, minlength=groups)
    start_G = size_G.cumsum(0) - size_G
    rank_R = torch.empty_like(index_R)
    rank_R[order] = torch.arange(len(order), device=order.device) - start_G[index_R[order]]
    return rank_R


def consecutive(count: int, size: int) -> Tensor:
    """The labels of consecutive groups of `size` among `count` rollouts: 0, 0, …, 1, 1, …"""
    return torch.arange(count) // size
