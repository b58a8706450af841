"""UniGRPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, I64, Leaf64, gradient
from gamutrl.functional import advantages as adv
from gamutrl.functional import divergences, probabilities, selection
from gamutrl.functional.weights import action_weights, weighted_total


def zscore_group_reward(correctness: F64, variant: str) -> dict[str, Any]:
    groups = torch.zeros(len(correctness), dtype=torch.long)
    low, high = (0.2, 0.8) if variant == "text" else (0.05, 0.95)
    return {
        "rewards": adv.group_normalize(correctness, groups, unbiased=False, eps=0.0),
        "kept": bool(selection.within(correctness, groups, low, high).all()),
    }


def masked_grpo_loss(
    logits: Leaf64, labels: I64, mask: F64, advantages: F64, old_logp: F64, eps: float, beta: float, use_k3: bool
) -> dict[str, Tensor]:
    logp = probabilities.selective_log_softmax(logits, labels.clamp(min=0))
    policy = compose.grpo_loss(logp, advantages, mask, old=old_logp, low=eps)
    kl = divergences.kl_estimate(logp, old_logp, "k3" if use_k3 else "k1")
    loss = policy + beta * weighted_total(kl, action_weights(mask, constant=1))
    return {"loss": loss, "grad_logits": gradient(loss, logits)}
