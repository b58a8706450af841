"""ViGoRL's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64


def kl_penalty(log_probs: F32, ref_log_probs: F32, kl_penalty: str) -> Tensor:
    return compose.verl_kl(log_probs, ref_log_probs, kl_penalty)


def policy_loss(
    log_probs: F64,
    old_log_probs: F64,
    advantages: F64,
    response_mask: F64,
    clip_ratio_low: float,
    clip_ratio_high: float,
    clip_ratio_dual: float,
) -> dict[str, Tensor]:
    answer = compose.verl_loss(
        log_probs, old_log_probs, advantages, response_mask, clip_ratio_low, clip_ratio_high, clip_ratio_dual
    )
    return {
        "pg_loss": answer["loss"],
        "clipfrac_higher": answer["clipped"],
        "clipfrac_lower": answer["capped"],
        "ppo_kl": answer["kl"],
    }
