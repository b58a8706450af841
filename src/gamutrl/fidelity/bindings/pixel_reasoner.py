"""Pixel-Reasoner's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64


def group_advantage(rewards: F64, nsample: int) -> Tensor:
    return compose.grouped(rewards, nsample, scale="none")


def policy_loss(log_probs: F64, old_log_probs: F64, advantages: F64, action_mask: F64) -> Tensor:
    return compose.grpo_loss(
        log_probs, advantages, action_mask, old=old_log_probs, low=0.2, high=0.35, over="token", constant=200
    )
