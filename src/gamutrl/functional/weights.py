"""How much each action's loss counts: the mode in which a batch of terms becomes one number.

Weights are computed once from the whole update's mask, so that micro-batches and processes change nothing:
`loss = weighted_total(terms_NT, weight_NT)`, in parts or at once.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def action_weights(
    mask_NT: Tensor,
    over: Literal["token", "sequence"] | Tensor = "sequence",
    *,
    constant: float | None = None,
    total: float | None = None,
    count_empty: bool = True,
    eps: float = 0.0,
) -> Tensor:
    """1 / (actions of its unit · number of units) for each action that counts, `[N, T]` float, else 0.

    over: the unit that a mean is taken over before units are averaged: "sequence" (a row: GRPO, arXiv 2402.03300),
    "token" (all actions of the update: DAPO, arXiv 2503.14476), or labels `[N]` or `[N, T]` of units (groups, rollouts,
    turns). constant: divide a unit's sum by this and not by its number of actions (Dr. GRPO, arXiv 2503.20783: the
    longest completion; 1: a plain sum). total: the number of units where the update is only a part of them.
    count_empty: whether units without any action count among the units. eps: added to a unit's number of actions.
    """
    if mask_NT.dim() != 2:
        raise ValueError(f"The mask must be [N, T], not {list(mask_NT.shape)}.")
    mask = mask_NT.to(torch.float64)
    count_NT, units, filled = _units(mask, over)
    if constant is not None:
        count_NT = torch.full_like(mask, constant)
    if total is None:
        total = units if count_empty else filled
    return (mask / (count_NT.clamp(min=0 if constant is not None or eps else 1) + eps) / max(total, 1e-300)).float()


def weighted_total(terms_NT: Tensor, weight_NT: Tensor) -> Tensor:
    """Σ terms · weight; a term whose weight is 0 adds nothing, not even NaN, and gets no gradient."""
    return (torch.where(weight_NT != 0, terms_NT, 0.0) * weight_NT.to(terms_NT.dtype)).sum()


def masked_mean(value: Tensor, mask: Tensor, dim: int | None = None, eps: float = 0.0) -> Tensor:
    """The mean where the mask is on (0 where it is nowhere on); eps is added to the count."""
    kept = torch.where(mask.bool(), value, 0.0)
    total, count = (kept.sum(), mask.sum()) if dim is None else (kept.sum(dim), mask.sum(dim))
    return total / (count + eps if eps else count.clamp(min=1))


def _units(mask_NT: Tensor, over: Literal["token", "sequence"] | Tensor) -> tuple[Tensor, int, int]:
    """How many actions each action's unit has, how many units there are, and how many have an action."""
    if isinstance(over, str):
        length_N1 = mask_NT.sum(1, keepdim=True)
        if over == "token":
            return length_N1.sum().expand_as(mask_NT), 1, 1
        return length_N1.expand_as(mask_NT), len(mask_NT), int((length_N1 > 0).sum())
    if over.shape not in (mask_NT.shape, mask_NT.shape[:1]):
        raise ValueError(f"Labels of units must be [N] or [N, T] = {list(mask_NT.shape)}, not {list(over.shape)}.")
    labels_NT = over[:, None].expand_as(mask_NT) if over.dim() == 1 else over
    labels, unit_NT = torch.unique(labels_NT, return_inverse=True)
    count_U = mask_NT.new_zeros(len(labels)).index_add(0, unit_NT.flatten(), mask_NT.flatten())
    return count_U[unit_NT], len(labels), int((count_U > 0).sum())
