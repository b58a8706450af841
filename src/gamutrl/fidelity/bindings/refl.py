"""ImageReward's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import Leaf64, gradient
from gamutrl.functional import preference
from gamutrl.rewards import ranking as ranked


def refl_loss(rewards: Leaf64, grad_scale: float) -> dict[str, Tensor]:
    loss = preference.reward_margin(rewards, 2.0).mean() * grad_scale
    return {"loss": loss, "grad_rewards": gradient(loss, rewards)}


def rm_pair_loss(reward: Leaf64) -> dict[str, Tensor]:
    losses = preference.bradley_terry(reward[:, 0], reward[:, 1])
    return {
        "loss": losses.mean(),
        "loss_list": losses,
        "acc": (reward[:, 0] > reward[:, 1]).float().mean(),
        "grad": gradient(losses.mean(), reward),
    }


def ranking_to_pairs(ranking: list[float]) -> list[list[int]]:
    return [list(pair) for pair in ranked.pairs_of(ranking)]


def score_and_rank(raw: list[float]) -> dict[str, Any]:
    rewards = [(score - 0.16717362830052426) / 1.0333394966054072 for score in raw]
    return {"rewards": rewards, "rank": ranked.ranks(rewards)}
