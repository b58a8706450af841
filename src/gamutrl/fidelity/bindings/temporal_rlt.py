"""Temporal-RLT's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, Labels
from gamutrl.functional.weights import masked_mean


def grpo_outcome_advantage(rewards: F32, group_index: Labels, mask: F32) -> Tensor:
    return compose.outcome(rewards, group_index, mask)


def policy_and_kl_loss(
    log_prob: F32,
    old_log_prob: F32,
    ref_log_prob: F32,
    advantages: F32,
    mask: F32,
    cliprange: float,
    kl_coef: float,
) -> dict[str, Tensor]:
    answer = compose.verl_loss(log_prob, old_log_prob, advantages, mask, cliprange)
    kl = masked_mean(compose.verl_kl(log_prob, ref_log_prob, "low_var_kl"), mask)
    return {
        "pg_loss": answer["loss"],
        "clipfrac": answer["clipped"],
        "ppo_kl": answer["kl"],
        "kl_loss": kl,
        "total": answer["loss"] + kl_coef * kl,
    }
