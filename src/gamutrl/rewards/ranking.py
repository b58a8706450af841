"""Rewards of scores that must order things rightly: Thurstone's model over a pool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.functional.groups import group_mean, group_variance
from gamutrl.rewards.answers import number_in
from gamutrl.rewards.tags import tag_text


def preference_probability(score: Tensor, other: Tensor, variance: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Thurstone's probability that one is better than another: Φ((score - other) / √(variance + eps))."""
    return torch.special.ndtr((score - other) / (variance + eps).sqrt())


def fidelity(probability: Tensor, truth: Tensor, *, eps: float = 1e-6) -> Tensor:
    """√(p t + eps) + √((1 - p)(1 - t) + eps): 1 where a probability is as the truth (0, ½, 1) has it.

    Source: Tsai et al. 2007 (FRank); VisualQuality-R1 (arXiv 2505.14460), eq. 3.
    """
    return (probability * truth + eps).sqrt() + ((1 - probability) * (1 - truth) + eps).sqrt()


def ranking_fidelity(score_R: Tensor, truth_R: Tensor, group_R: Tensor, *, eps: float = 1e-6) -> Tensor:
    """The mean fidelity of a rollout's score against every other group of the pool, `[R]`.

    A rollout's own score is compared with the other group's mean, under both groups' unbiased variances. A rollout
    without a score (NaN) leaves its group's statistics and gets 0; a pool of one group has nothing to compare: NaN.
    """
    score_R, truth_R = score_R.double(), truth_R.double()
    mean_R = group_mean(score_R, group_R)
    variance_R = group_variance(score_R, group_R).nan_to_num(0.0)
    first_G = torch.tensor([int((group_R == group).nonzero()[0]) for group in group_R.unique()])
    spread_RG = variance_R[:, None] + variance_R[first_G][None]
    better_RG = preference_probability(score_R[:, None], mean_R[first_G][None], spread_RG, eps=eps)
    wanted_RG = (torch.sign(truth_R[:, None] - truth_R[first_G][None]) + 1) / 2
    value_RG = fidelity(better_RG, wanted_RG, eps=eps)
    other_RG = (group_R[:, None] != group_R[first_G][None]) & ~value_RG.isnan()
    total_R = torch.where(other_RG, value_RG, 0.0).sum(1)
    if len(first_G) < 2:
        return torch.full_like(total_R, math.nan).float()
    return (total_R / other_RG.sum(1).clamp(min=1)).float()


def pairs_of(rank: Sequence[float]) -> list[tuple[int, int]]:
    """The pairs (better, worse) of a ranking whose best is 1, in order; ties make none (ReFL, 2304.05977)."""
    pairs = ((i, j) if rank[i] < rank[j] else (j, i) for i, j in combinations(range(len(rank)), 2))
    return [(i, j) for i, j in pairs if rank[i] != rank[j]]


def ranks(score: Sequence[float]) -> list[int]:
    """The place of each score, the highest first, from 1; equal ones in their order."""
    place = {i: rank for rank, i in enumerate(sorted(range(len(score)), key=lambda i: -score[i]), 1)}
    return [place[i] for i in range(len(score))]


@dataclass(frozen=True)
class RankingFidelity:
    """`ranking_fidelity` of the number in each rollout's answer, over the batch: give its Reward `scope="pool"`.

    The truth is the row's `answer` (a mean opinion score). Rows of one pool are compared with each other alone.
    """

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        said = [tag_text(rollout.text, which="last", missing="whole") for rollout in batch.rollouts]
        score_R = torch.tensor([math.nan if (number := number_in(text)) is None else number for text in said])
        truth_R = torch.tensor([float(batch.prompts[p].answer) for p in batch.prompt_R.tolist()])
        pools = [batch.prompts[p].pool for p in batch.prompt_R.tolist()]
        reward_R = torch.full_like(score_R, math.nan)
        for pool in dict.fromkeys(pools):
            inside_R = torch.tensor([one == pool for one in pools])
            reward_R[inside_R] = ranking_fidelity(score_R[inside_R], truth_R[inside_R], batch.group_R[inside_R])
        return reward_R
