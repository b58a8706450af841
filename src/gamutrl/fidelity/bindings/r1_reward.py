"""R1-Reward's released code, answered by ours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64
from gamutrl.functional import advantages as adv
from gamutrl.functional import (
    divergences,
)


def stablereinforce_policy_loss(
    log_probs: F64, old_log_probs: F64, advantages: F64, action_mask: F64, clip_eps: float
) -> Tensor:
    mask = torch.ones_like(log_probs) if action_mask is None else action_mask
    return compose.grpo_loss(log_probs, advantages, mask, old=old_log_probs, low=clip_eps, bound=math.log(1000))


def kl_shaped_returns(
    reward: F32, log_probs: F32, ref_log_probs: F32, action_mask: F32, kl_coef: float, gamma: float
) -> dict[str, Tensor]:
    kl = divergences.kl_estimate(log_probs, ref_log_probs, "k1")
    shaped = adv.kl_shaped_rewards(reward, kl, action_mask, max(kl_coef, 0.0), reward_clip=10)
    returns = adv.discounted_returns(shaped, torch.ones_like(action_mask), gamma)
    return {"token_rewards": shaped, "returns": returns}
