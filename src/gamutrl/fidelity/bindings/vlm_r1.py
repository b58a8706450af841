"""VLM-R1's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64


def grpo_advantage(rewards_per_func: F32, num_generations: int) -> Tensor:
    return compose.grouped(rewards_per_func.sum(1), num_generations)


def grpo_loss(
    per_token_logps: F64,
    old_per_token_logps: F64,
    ref_per_token_logps: F64,
    advantages: F64,
    completion_mask: F64,
    beta: float,
    epsilon_low: float,
    epsilon_high: float,
) -> Tensor:
    return compose.grpo_loss(
        per_token_logps,
        advantages,
        completion_mask,
        old=old_per_token_logps,
        ref=ref_per_token_logps,
        beta=beta,
        low=epsilon_low,
        high=epsilon_high,
    )
