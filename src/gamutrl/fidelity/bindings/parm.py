"""PARM's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity.inputs import F32
from gamutrl.functional import (
    preference,
)


def dpo_with_reward_guidance(
    policy_chosen: F32,
    policy_rejected: F32,
    ref_chosen: F32,
    ref_rejected: F32,
    beta: float,
    yes_probs: F32,
    reward_coef: float,
    dpo_coef: float,
    sft_loss: float,
    sft_coef: float,
) -> Tensor:
    loss = preference.dpo(policy_chosen - ref_chosen, policy_rejected - ref_rejected, beta).mean()
    if reward_coef:
        return loss - reward_coef * yes_probs.clamp(min=1e-7).log().mean()
    return dpo_coef * loss + sft_coef * sft_loss
