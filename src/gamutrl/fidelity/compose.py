"""The one composition that most bindings share: a whole GRPO update, from log-probabilities to one number."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.functional import advantages, divergences, objectives, ratios
from gamutrl.functional.groups import consecutive
from gamutrl.functional.weights import action_weights, weighted_total


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
