"""UniGRPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, I64, Leaf64, gradient, tensor
from gamutrl.functional import advantages as adv
from gamutrl.functional import (
    divergences,
    masking,
    probabilities,
    selection,
)
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


def random_masking(
    input_ids: I64,
    draws: list[list[dict[str, Any]]],
    start_pos: int,
    lower_p: float,
    upper_p: float,
    mask_id: int,
    pad_id: int,
    post_num: int | None,
) -> dict[str, Tensor]:
    drawn = [draw for row in draws for draw in row]
    row_of = torch.arange(len(input_ids)).repeat_interleave(len(draws[0]))
    tokens = input_ids[row_of]
    answer = torch.arange(tokens.shape[1]) >= start_pos
    pads = (tokens == pad_id) & answer
    tail = pads & (pads.cumsum(1) > (len(tokens[0]) if post_num is None else post_num))
    rate = lower_p + (upper_p - lower_p) * tensor([draw["t_u"] for draw in drawn])
    masked = masking.random_mask(answer & ~tail, rate, tensor([draw["u"] for draw in drawn]))
    kept = masked.any(1)
    noisy = tokens.masked_fill(masked | tail, mask_id)
    return {"noisy": noisy[kept], "p_mask": masked[kept].long(), "row_of": row_of[kept]}
