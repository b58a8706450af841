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
    def rates(shares: list[float | None]) -> list[float | None]:
        return [None if rate is None else round(rate, 3) for rate in tournament.win_rates(num_items, shares)]

    verdicts = [parsing.json_in(text, repair=False) for text in outputs]
    winners = [verdict.get("winner") if isinstance(verdict, dict) else None for verdict in verdicts]
    overall = [rate or 0.0 for rate in rates([tournament.SHARE[tournament.named_winner(w)] for w in winners])]
    shares = [tournament.category_shares(verdict) for verdict in verdicts]
    names = list(dict.fromkeys(name for share in shares for name in share))
    by_name = {name: rates([share.get(name) for share in shares]) for name in names}
    weights = [*(category_weights or []), *[1.0] * len(names)]
    rows = [[(rate[i], w) for rate, w in zip(by_name.values(), weights)] for i in range(num_items)]
    known = [[(rate, weight) for rate, weight in row if rate is not None] for row in rows]
    means = [round(combine.weighted_mean(row), 3) for row in known]
    both = (overall_weight, dim_weight or 1.0)  # Released: a weight of 0 counts as none given.
    reward = [
        combine.weighted_mean(list(zip((one, mean), both))) if row else one
        for one, mean, row in zip(overall, means, known)
    ]
    detail: dict[str, Any] = {
        "overall_reward": overall,
        "dim_mean_reward": means,
        "dim_rate_flags": [bool(row) for row in known],
    }
    detail |= {name: [rate or 0.0 for rate in rated] for name, rated in by_name.items()}
    return {"reward": reward, "detail": detail}


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
