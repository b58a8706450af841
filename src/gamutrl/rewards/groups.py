"""Rewards that look at a rollout's group: bonuses that only the right ones can earn.

Each is a pure function of per-rollout tensors, and a small score around it that fetches them from the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.functional.groups import group_mean, group_sum


def length_window_bonus(
    accuracy_R: Tensor,
    length_R: Tensor,
    group_R: Tensor,
    *,
    low: int = 320,
    high: int = 512,
    bonus: float = 0.2,
    above: float = 0.1,
    at_least: int = 2,
) -> Tensor:
    """A bonus `[R]` for right rollouts whose length lies in [low, high], if the group has at least so many right ones.

    Right is an accuracy above `above`. A group with a single right rollout gets none: its length says nothing yet.
    Source: Video-R1 (2503.21776); SpaceR, VQ-Insight, EchoInk-R1 with other windows.
    """
    right_R = accuracy_R > above
    enough_R = group_sum(right_R.to(accuracy_R.dtype), group_R) >= at_least
    inside_R = (length_R >= low) & (length_R <= high)
    return bonus * (right_R & enough_R & inside_R).to(accuracy_R.dtype)


def beats_auxiliary_bonus(
    accuracy_R: Tensor,
    group_R: Tensor,
    other_accuracy_S: Tensor,
    other_group_S: Tensor,
    *,
    factor: float = 0.8,
    bonus: float = 0.3,
    above: float = 0.1,
) -> Tensor:
    """A bonus `[R]` for right rollouts of groups whose mean accuracy is at least factor · that of an auxiliary group.

    Groups that are compared carry one number; NaN for a rollout whose group has no counterpart. Source: T-GRPO,
    Video-R1 (2503.21776): frames in order against frames shuffled. Its code has factor 0.8, its paper 1.
    """
    unknown_R = torch.full_like(accuracy_R, torch.nan)
    other_R = group_mean(torch.cat([unknown_R, other_accuracy_S]), torch.cat([group_R, other_group_S]))[: len(group_R)]
    ahead_R = group_mean(accuracy_R, group_R) >= factor * other_R
    earned_R = bonus * (ahead_R & (accuracy_R > above)).to(accuracy_R.dtype)
    return torch.where(other_R.isnan(), torch.nan, earned_R)


def answer_likelihood(logp_NT: Tensor, mask_NT: Tensor, *, eps: float = 1e-6) -> Tensor:
    """The geometric mean probability of the tokens under the mask, `[N]`; 1 where there are none."""
    return ((logp_NT * mask_NT).sum(1) / (mask_NT.sum(1) + eps)).exp()


def consistency_bonus(
    likelihood_R: Tensor,
    accuracy_R: Tensor,
    group_R: Tensor,
    *,
    coefficient: float = 0.5,
    cap: float | None = 0.95,
    margin: float = 0.01,
    above: float = 0.1,
) -> Tensor:
    """coefficient · accuracy `[R]` for right rollouts whose answer a slow reference finds as likely as the right ones'.

    likelihood_R: `answer_likelihood` under the reference, given the rollout's own reasoning; cut at `cap`. Right is an
    accuracy above `above` and not below its group's mean; the bar is the mean likelihood of the right ones, less
    `margin`. Source: GRPO-CARE (2506.16141).
    """
    likelihood_R = likelihood_R if cap is None else likelihood_R.clamp(max=cap)
    right_R = (accuracy_R > above) & (accuracy_R >= group_mean(accuracy_R, group_R))
    bar_R = group_mean(torch.where(right_R, likelihood_R, torch.nan), group_R) - margin
    return torch.where(right_R & (likelihood_R >= bar_R), coefficient * accuracy_R, 0.0)


@dataclass(frozen=True)
class LengthWindow:
    """`length_window_bonus` of another reward of the batch: `Reward("length", LengthWindow("accuracy"))`."""

    base: str = "accuracy"
    low: int = 320
    high: int = 512
    bonus: float = 0.2
    above: float = 0.1
    at_least: int = 2

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        return length_window_bonus(
            context.reward(batch, self.base),
            batch.length_R,
            batch.group_R,
            low=self.low,
            high=self.high,
            bonus=self.bonus,
            above=self.above,
            at_least=self.at_least,
        )


@dataclass(frozen=True)
class BeatsAuxiliary:
    """`beats_auxiliary_bonus` against a batch that a rollout hook left in `context.auxiliary`.

    The auxiliary batch's groups carry the numbers of the groups they are compared with; where it has none (pictures
    have no order to shuffle), the reward does not apply.
    """

    auxiliary: str
    base: str = "accuracy"
    factor: float = 0.8
    bonus: float = 0.3
    above: float = 0.1

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        other = context.auxiliary[self.auxiliary]
        other_S = context.reward(other, self.base)
        if len(other_S):
            context.metrics[f"{self.auxiliary}/{self.base}"] = float(other_S.nanmean())
        return beats_auxiliary_bonus(
            context.reward(batch, self.base),
            batch.group_R,
            other_S,
            other.group_R,
            factor=self.factor,
            bonus=self.bonus,
            above=self.above,
        )
