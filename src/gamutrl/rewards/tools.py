"""Rewards of using tools: for trying them, for not overdoing it, for what they helped."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.functional.groups import group_mean


def calls_of(batch: Batch) -> Tensor:
    """How many calls each rollout made, `[R]`."""
    return torch.tensor([len(rollout.calls) for rollout in batch.rollouts])


def called(batch: Batch, context: Context) -> Tensor:
    """Whether a rollout called a tool, `[R]`: a reward's `score`."""
    return (calls_of(batch) > 0).float()


def economy(batch: Batch, context: Context) -> Tensor:
    """Minus 0.05 for each call beyond the first, `[R]`: a reward's `score`."""
    return call_penalty(calls_of(batch))


def curiosity_bonus(
    calls_R: Tensor, group_R: Tensor, *, target: float = 0.3, weight: float = 0.25, divisor: float | Tensor = 2.0
) -> Tensor:
    """A bonus `[R]` for rollouts that call a tool while fewer than `target` of their group do.

    weight · (target - share) / (divisor · share). Source: the code of Pixel-Reasoner (2505.15966); its paper does not
    divide by the share.
    """
    used_R = (calls_R > 0).to(torch.get_default_dtype())
    share_R = group_mean(used_R, group_R)
    bonus_R = weight * (target - share_R).clamp(min=0) / (divisor * share_R).clamp(min=1e-12)
    return torch.where(used_R > 0, bonus_R, 0.0)


def call_penalty(calls_R: Tensor, *, free: int = 1, each: float = 0.05) -> Tensor:
    """Minus so much for each call beyond the free ones, `[R]`."""
    return -each * (calls_R - free).clamp(min=0).to(torch.get_default_dtype())


def gain(without: bool, with_tools: bool, *, lost: float = -0.5) -> float:
    """1 if a frozen reasoner is right with the tools chosen, `lost` if they misled it, else 0 (VISTA)."""
    return 1.0 if with_tools else lost if without else 0.0
