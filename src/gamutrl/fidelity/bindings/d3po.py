"""D3PO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import F64, Leaf64, gradient
from gamutrl.functional import preference, ratios
from gamutrl.rewards import pairs


def d3po_loss(
    logp_0: Leaf64,
    ref_logp_0: F64,
    logp_1: Leaf64,
    ref_logp_1: F64,
    human_prefer: F64,
    beta: float,
    eps: float,
) -> dict[str, Tensor]:
    first = ratios.clip_log_ratio(logp_0 - ref_logp_0, eps)
    second = ratios.clip_log_ratio(logp_1 - ref_logp_1, eps)
    side = human_prefer[:, 0]
    loss = preference.dpo(side * first, side * second, beta).mean()
    return {
        "loss": loss,
        "ratio_0": first.exp(),
        "ratio_1": second.exp(),
        "grad_logp_0": gradient(loss, logp_0),
        "grad_logp_1": gradient(loss, logp_1),
    }


def human_preference_signs(score_0: list[float], score_1: list[float]) -> dict[str, Any]:
    signs = [pairs.dominance([a], [b]) for a, b in zip(score_0, score_1)]
    return {"signs": [[sign, -sign] for sign in signs], "pair_skipped": not any(signs)}


def reward_compare(rewards_0: list[Any], rewards_1: list[Any]) -> list[list[int]]:
    rows = [[value if isinstance(value, list) else [value] for value in rewards] for rewards in (rewards_0, rewards_1)]
    return [[sign, -sign] for sign in (pairs.dominance(a, b) for a, b in zip(*rows))]
