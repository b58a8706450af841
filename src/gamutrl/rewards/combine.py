"""Combines: the reward table to one reward a rollout, where it is not the weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.functional.advantages import normalize_then_sum
from gamutrl.rewards.answers import to_number
from gamutrl.rewards.base import Reward, Score
from gamutrl.rewards.parsing import loads


def signed(accuracy_R: Tensor, format_R: Tensor, *, nothing: float = -2.0) -> Tensor:
    """accuracy + (2 · accuracy - 1) · format: a good layout raises what is right and lowers what is wrong.

    nothing: the value of what is neither right nor laid out. Source: TinyLLaVA-Video-R1 (2504.09641).
    """
    total_R = accuracy_R + (2 * accuracy_R - 1) * format_R
    return torch.where(total_R == 0, nothing, total_R)


def penalised(reward_R: Tensor, fault_R: Tensor, *, penalty: float = 0.1) -> Tensor:
    """Rewards above 0, less a penalty where there is a fault; what earned nothing loses nothing (RAPID, 2506.04559)."""
    return torch.where((reward_R > 0) & fault_R.bool(), reward_R - penalty, reward_R)


@dataclass(frozen=True)
class Signed:
    """`signed` of two rewards of the table, as a combine."""

    accuracy: str = "accuracy"
    format: str = "format"
    nothing: float = -2.0

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        return signed(batch.reward(self.accuracy), batch.reward(self.format), nothing=self.nothing)


@dataclass(frozen=True)
class Product:
    """The product of some rewards of the table (all, if none is named); one that does not apply is left out."""

    names: tuple[str, ...] = ()

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        names = self.names or batch.reward_names
        reward_RK = torch.stack([batch.reward(name) for name in names], 1)
        applies_RK = ~reward_RK.isnan()
        return torch.where(applies_RK.any(1), torch.where(applies_RK, reward_RK, 1.0).prod(1), torch.nan)


@dataclass(frozen=True)
class Minimum:
    """The least of some rewards of the table (all, if none is named); one that does not apply is left out."""

    names: tuple[str, ...] = ()

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        reward_RK = torch.stack([batch.reward(name) for name in self.names or batch.reward_names], 1)
        least_R = reward_RK.nan_to_num(torch.inf).amin(1)
        return least_R.masked_fill(least_R.isinf(), torch.nan)


@dataclass(frozen=True)
class Normalized:
    """The weighted sum of rewards that are first put on one scale, each by itself: less its mean, over its deviation.

    within: the mean and the deviation are those of each "group" or of the whole "batch". The sum of what applies; NaN
    where nothing does. MixGRPO and others put several scorers together this way.
    """

    within: Literal["group", "batch"] = "group"
    eps: float = 1e-4

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        group_R = batch.group_R if self.within == "group" else torch.zeros_like(batch.group_R)
        reward_RK = batch["reward_RK"]
        total_R = normalize_then_sum(reward_RK, group_R, batch["weight_RK"], eps=self.eps)
        return total_R.masked_fill(reward_RK.isnan().all(1), torch.nan)


@dataclass(frozen=True)
class Gated:
    """`reward` where another reward of the batch is above a value, 0 elsewhere: `Reward("tool", Gated(used_tool, …))`.

    A judge or a renderer behind a gate is asked for no rollout that the gate shuts out.
    """

    reward: Score
    by: str
    above: float = 0.0

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        open_R = context.reward(batch, self.by) > self.above
        value_R = torch.zeros(len(batch.rollouts))
        if open_R.any():
            value_R[open_R] = self.reward(batch.take_rollouts(open_R), context).float()
        return value_R


@dataclass(frozen=True)
class Routed:
    """By the value of a row's column, the score to use; a row of a value that has none gets NaN.

    `Reward("accuracy", Routed("kind", {"box": per_rollout(box_score), "count": per_rollout(accuracy)}))`.
    """

    column: str
    scores: Sequence[tuple[str, Score]] | dict[str, Score]

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        routes = dict(self.scores)
        values = batch.columns_R().get(self.column, [None] * len(batch.rollouts))
        value_R = torch.full((len(batch.rollouts),), torch.nan)
        for value, score in routes.items():
            here_R = torch.tensor([one == value for one in values])
            if here_R.any():
                value_R[here_R] = score(batch.take_rollouts(here_R), context).float()
        return value_R


def by_progress(steps: Sequence[tuple[float, float]]) -> Callable[[float], float]:
    """A number that changes in steps: `[(0.1, 0.85), (0.25, 0.95), (1, 0.99)]` is 0.85 up to a tenth of the way, …"""

    def value(progress: float) -> float:
        return next((number for until, number in steps if progress <= until), steps[-1][1])

    return value


def weighted_mean(parts: Sequence[tuple[float, float]]) -> float:
    """The mean of (value, weight) pairs; 0 without weight."""
    total = sum(weight for _, weight in parts)
    return sum(value * weight for value, weight in parts) / total if total else 0.0


def all_or_nothing(scores: Mapping[str, Sequence[float | None]], weights: Mapping[str, float]) -> list[float | None]:
    """The weighted sum of each sample's scores; None for a sample that one of the scorers failed on (MixGRPO)."""
    return [
        None if None in row else sum(weights[name] * value for name, value in zip(scores, row) if value is not None)
        for row in zip(*scores.values())
    ]


def discounted_mean(values: Sequence[float], gamma: float = 0.9) -> float:
    """The mean of a trajectory's rewards, each weighing gamma times the one before it (MetaSpatial); 0 without any."""
    return weighted_mean([(value, gamma**i) for i, value in enumerate(values)])


def weights_of(spec: str | None) -> dict[str, float]:
    """Weights by name from `{"clip": 0.6}` or `clip:0.6,hps` (1 where none is given); the last of a name counts.

    Raises ValueError for a weight that is no number.
    """
    spec = (spec or "").strip()
    if spec.startswith("{"):
        given = list((loads(spec) or {"": None}).items())
    else:
        parts = (part.partition(":") for part in spec.split(",") if part.strip())
        given = [(name.strip(), weight if colon else 1.0) for name, colon, weight in parts]
    weights = {name: to_number(weight) for name, weight in given}
    if None in weights.values():
        raise ValueError(f"Give each reward a number for its weight, as in clip:0.6,hps:1, not {spec[:200]!r}.")
    return {name: weight for name, weight in weights.items() if weight is not None}


def reweighted(rewards: Sequence[Reward], **weights: float) -> tuple[Reward, ...]:
    """The same rewards with other weights, by name."""
    unknown = set(weights) - {reward.name for reward in rewards}
    if unknown:
        raise ValueError(f"No reward is called {', '.join(sorted(unknown))}.")
    return tuple(Reward(r.name, r.score, weights.get(r.name, r.weight), r.scope, r.differentiable) for r in rewards)
