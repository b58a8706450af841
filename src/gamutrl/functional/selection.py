"""Which rollouts are trained on, and how they pair up."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.functional.groups import group_count, group_index, group_mean, group_variance


def informative(reward_R: Tensor, group_R: Tensor, *, keep_singletons: bool = True) -> Tensor:
    """Rollouts of groups whose rewards differ, bool `[R]` (DAPO's dynamic sampling, arXiv 2503.14476, equation 11)."""
    spread = group_variance(reward_R, group_R, unbiased=False) > 0
    return spread | (group_count(reward_R, group_R) == 1) if keep_singletons else spread


def within(value_R: Tensor, group_R: Tensor, low: float, high: float) -> Tensor:
    """Rollouts of groups whose mean lies in [low, high], bool `[R]` (MM-Eureka's online filter, arXiv 2503.07365)."""
    mean_R = group_mean(value_R, group_R)
    return (mean_R >= low) & (mean_R <= high)


def extremes(score_R: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices of the best ⌈count/2⌉ and the worst ⌊count/2⌋, worst first in each (DanceGRPO, arXiv 2505.07818)."""
    order = score_R.argsort(stable=True)
    return order[len(order) + (-count // 2) :], order[: count // 2]


def best_and_worst(score_R: Tensor, group_R: Tensor) -> Tensor:
    """+1 at each group's first best, -1 at its first worst, 0 elsewhere, `[R]` (pairs out of groups for DPO).

    A group without spread has +1 at its second and -1 at its first rollout, so that a pair is a pair.
    """
    sign_R = torch.zeros_like(score_R)
    index_R, groups = group_index(group_R)
    for group in range(groups):
        members = (index_R == group).nonzero().flatten()
        score = score_R[members]
        worst, best = int(score.argmin()), int(score.argmax())
        if worst == best and len(members) > 1:
            worst, best = 0, 1
        sign_R[members[worst]] = -1
        sign_R[members[best]] = 1
    return sign_R


def best_of_each(score_R: Tensor, group_R: Tensor) -> Tensor:
    """1 where a rollout's score is its group's highest (all of a tie), `[R]`."""
    index_R, groups = group_index(group_R)
    top_G = torch.full((groups,), -torch.inf, dtype=score_R.dtype).scatter_reduce(0, index_R, score_R, "amax")
    return (score_R == top_G[index_R]).to(score_R)


def class_weights(label_R: Tensor, positive_share: float) -> Tensor:
    """Sampling weights under which positives come up at the given share, however many there are, `[R]`."""
    positive_R = label_R.bool()
    return torch.where(
        positive_R,
        positive_share * len(label_R) / (positive_R.sum() + 1e-9),
        (1 - positive_share) * len(label_R) / ((~positive_R).sum() + 1e-9),
    )


def near(value_R: Tensor, centre: float, std: float) -> Tensor:
    """Probabilities of drawing each row, a Gaussian around a value, `[R]` (Time-R1, arXiv 2503.13377)."""
    weight_R = torch.exp(-(value_R - centre).square() / (2 * std**2))
    return weight_R / weight_R.sum()


def evenly_ranked(value_R: Tensor, count: int, low: float, high: float) -> Tensor:
    """At most `count` rows with low < value <= high, evenly spaced by rank, highest first; indices, NaN left out."""
    kept = ((value_R > low) & (value_R <= high)).nonzero().flatten()
    order = kept[value_R[kept].argsort(descending=True, stable=True)]
    if len(order) <= count:
        return order
    return order[torch.linspace(0, len(order) - 1, count, dtype=torch.float64).round().long()]
