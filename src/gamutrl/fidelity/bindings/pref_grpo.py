"""Pref-GRPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F64, Leaf64, gradient, tensor
from gamutrl.functional import advantages as adv
from gamutrl.functional import (
    objectives,
    ratios,
)
from gamutrl.functional.groups import consecutive
from gamutrl.rewards import combine, judging, parsing, tournament


def policy_loss(
    log_prob: Leaf64,
    old_log_prob: F64,
    prev_mean: F64,
    old_prev_mean: F64,
    noise_scale: float,
    dt: float,
    advantage: F64,
    adv_clip_max: float,
    clip_range: float,
    rationorm: bool,
) -> dict[str, Any]:
    ratio, scale = ratios.log_ratio(log_prob, old_log_prob).reshape(1), 1.0
    if rationorm:
        ratio = ratios.normalized_log_ratio(ratio, prev_mean[None], old_prev_mean[None], noise_scale)
        scale = abs(dt)
    advantage = advantage.clamp(-adv_clip_max, adv_clip_max)
    loss = objectives.clipped_surrogate(ratio, advantage, clip_range).mean() / scale
    return {"ratio": ratio.exp(), "loss": loss, "grad_log_prob": gradient(loss, log_prob).reshape(1)}


def normalize_winner(text: str) -> int | None:
    return tournament.named_winner(text)


def pairwise_win_rate(num_items: int, outputs: list[str], better_1: str, better_2: str) -> list[float]:
    winners = [tournament.answered_winner(text, better_1, better_2) for text in outputs]
    rates = tournament.win_rates(num_items, [tournament.SHARE[winner] for winner in winners])
    return [round(rate or 0.0, 3) for rate in rates]


def flex_win_rate(
    num_items: int,
    outputs: list[str],
    category_weights: list[float] | None,
    dim_weight: float,
    overall_weight: float = 1.0,
) -> dict[str, Any]:
    verdicts = [parsing.json_in(text, repair=False) for text in outputs]
    weights = (overall_weight, dim_weight or 1.0)  # Released: a weight of 0 counts as none given.
    found = tournament.judged(num_items, verdicts, category_weights or (), weights=weights)
    detail: dict[str, Any] = {
        "overall_reward": found.overall,
        "dim_mean_reward": found.mean,
        "dim_rate_flags": found.known,
    }
    detail |= {name: [rate or 0.0 for rate in rated] for name, rated in found.by_category.items()}
    return {"reward": found.reward, "detail": detail}


def pointwise_scores(responses: list[str]) -> dict[str, list[float]]:
    def scores(word: str) -> list[float]:
        label = f"{word} Score (1-5):"
        return tournament.filled([judging.labelled_score(text, label, "0-5", which="last") for text in responses])

    return {word.lower(): scores(word) for word in ("Alignment", "Style", "Coherence")}


def reward_spec(spec: str | None) -> dict[str, float]:
    return combine.weights_of(spec)


def weighted_advantages(
    rewards: dict[str, list[float]],
    weights: dict[str, float],
    num_generations: int,
    use_group: bool,
    apply_gdpo: bool,
) -> dict[str, Any]:
    count = len(next(iter(rewards.values())))
    groups = consecutive(count, num_generations) if use_group else torch.zeros(count, dtype=torch.long)

    def normalized(name: str) -> Tensor:
        return adv.group_normalize(tensor(rewards[name], torch.float64), groups, eps=1e-8)

    def of(name: str) -> Tensor:
        if f"{name}_overall" not in rewards or not apply_gdpo:
            return normalized(name)
        overall, dimensions = normalized(f"{name}_overall"), normalized(f"{name}_dim_mean")
        judged = tensor(rewards[f"{name}_dim_mask"], torch.bool)
        return torch.where(judged, (overall + dimensions) / 2, overall)

    apart = {name: of(name) for name in weights}
    total = torch.stack([weights[name] * apart[name] for name in weights]).sum(0)
    if apply_gdpo:
        total = adv.group_normalize(total, torch.zeros_like(groups), eps=1e-8)
    return {"advantages": total, "per_reward": apart}
