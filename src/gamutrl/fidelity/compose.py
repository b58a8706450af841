"""The one composition that most bindings share: a whole GRPO update, from log-probabilities to one number."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import gradient
from gamutrl.functional import advantages, divergences, objectives, ratios, shaping
from gamutrl.functional.groups import consecutive
from gamutrl.functional.weights import action_weights, masked_mean, weighted_total


def grouped(reward_R: Tensor, size: int, **options: Any) -> Tensor:
    """Advantages of consecutive groups of `size`."""
    return advantages.group_normalize(reward_R, consecutive(len(reward_R), size), **options)


def grpo_loss(
    logp_NT: Tensor,
    advantage_N: Tensor,
    mask_NT: Tensor,
    *,
    old: Tensor | None = None,
    ref: Tensor | None = None,
    beta: float = 0.0,
    low: float = 0.2,
    high: float | None = None,
    cap: float | None = None,
    bound: float | None = None,
    kl: dict[str, Any] | None = None,
    **weights: Any,
) -> Tensor:
    """Clipped surrogate, plus beta · k3 against the reference, by the aggregation that `weights` names."""
    advantage_NT = advantage_N[:, None] if advantage_N.dim() == 1 else advantage_N
    ratio = ratios.log_ratio(logp_NT, old, bound=bound)
    terms = objectives.clipped_surrogate(ratio, advantage_NT, low, high, cap=cap)
    if beta and ref is not None:
        terms = terms + beta * divergences.kl_estimate(logp_NT, ref, **(kl or {}))
    return weighted_total(terms, action_weights(mask_NT, **weights))


def outcome(reward_R: Tensor, group_R: Tensor, mask_NT: Tensor | None = None, **options: Any) -> Tensor:
    """verl's outcome advantage: 1e-6 added to the deviation, a group of one keeps its reward; times a mask if given."""
    advantage_R = advantages.group_normalize(reward_R, group_R, eps=1e-6, singleton="raw", **options)
    return advantage_R if mask_NT is None else advantage_R[:, None] * mask_NT


def verl_loss(
    logp: Tensor,
    old: Tensor,
    advantage: Tensor,
    mask: Tensor,
    low: float = 0.2,
    high: float | None = None,
    cap: float | None = None,
    *,
    mode: str = "token-mean",
) -> dict[str, Tensor]:
    """verl's line of clipped losses, with what it logs: loss, clipped (share), capped (share), kl (mean old - new)."""
    ratio = ratios.log_ratio(logp, old)
    terms = objectives.clipped_surrogate(ratio, advantage, low, high, cap=cap)
    held = objectives.clipped_actions(ratio, advantage, low, high, cap=cap or math.inf)
    aggregation: dict[str, Any] = {
        "token-mean": {"over": "token", "eps": 1e-8},
        "seq-mean-token-sum": {"constant": 1},
        "seq-mean-token-mean": {"eps": 1e-8},
    }[mode]
    return {
        "loss": weighted_total(terms, action_weights(mask, **aggregation)),
        "clipped": masked_mean((held.low | held.high).to(logp), mask, eps=1e-8),
        "capped": masked_mean(held.cap.to(logp), mask, eps=1e-8),
        "kl": masked_mean(-ratio, mask, eps=1e-8),
    }


def on_policy(
    rewards: Tensor, size: int, logps: Tensor, ref: Tensor | None, mask: Tensor, beta: float, **options: Any
) -> dict[str, Any]:
    """A whole first update of TRL's line: advantages of consecutive groups, loss, and its gradient."""
    advantage = grouped(rewards, size)
    loss = grpo_loss(logps, advantage, mask, ref=ref, beta=beta, **options)
    return {"advantages": advantage, "loss": loss, "grad": gradient(loss, logps)}


def verl_kl(logp: Tensor, ref: Tensor, kind: str) -> Tensor:
    """verl's names of the KL estimators, `low_var_kl` clamped to ±10 after the formula."""
    names: dict[str, divergences.Estimator] = {"kl": "k1", "abs": "abs", "mse": "k2", "low_var_kl": "k3"}
    return divergences.kl_estimate(logp, ref, names[kind], clamp=10 if kind == "low_var_kl" else None)


def shaped_group(
    reward_RK: Tensor,
    length_R: Tensor,
    window: tuple[int, int] | None,
    shuffled_accuracy: Tensor | None = None,
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """Video-R1's line for one group: a bonus for order, a bonus for the length of right answers, then the advantage."""
    reward_RK = reward_RK.clone()
    right_R = reward_RK[:, 0] > 0.1
    if shuffled_accuracy is not None and reward_RK[:, 0].mean() >= 0.8 * shuffled_accuracy.mean():
        reward_RK[:, 0] += 0.3 * right_R
    reward_R = reward_RK.sum(1) if weight is None else reward_RK @ weight
    if window is not None and right_R.sum() > 1:
        reward_R = reward_R + 0.2 * (right_R & shaping.in_window(length_R, *window))
    return {"rewards": reward_R, "advantages": grouped(reward_R, len(reward_R))}
