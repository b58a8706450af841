"""DeepEyes's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, Labels


def grpo_outcome_advantage(token_level_rewards: F32, response_mask: F32, index: Labels) -> Tensor:
    return compose.outcome(token_level_rewards.sum(1), index, response_mask)


def policy_loss(
    log_prob: F64,
    old_log_prob: F64,
    advantages: F64,
    response_mask: F64,
    cliprange: float,
    cliprange_low: float | None,
    cliprange_high: float | None,
    clip_ratio_c: float,
    loss_agg_mode: str,
) -> dict[str, Tensor]:
    low = cliprange if cliprange_low is None else cliprange_low
    high = cliprange if cliprange_high is None else cliprange_high
    answer = compose.verl_loss(
        log_prob, old_log_prob, advantages, response_mask, low, high, clip_ratio_c, mode=loss_agg_mode
    )
    return {
        "pg_loss": answer["loss"],
        "pg_clipfrac": answer["clipped"],
        "ppo_kl": answer["kl"],
        "pg_clipfrac_lower": answer["capped"],
    }
