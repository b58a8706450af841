"""VARGPT-v1.1's released code, answered by ours."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F64, I64, Leaf64, gradient
from gamutrl.functional import (
    preference,
    probabilities,
)
from gamutrl.functional.weights import masked_mean


def dpo_loss(
    policy_chosen: Leaf64,
    policy_rejected: Leaf64,
    ref_chosen: F64,
    ref_rejected: F64,
    beta: float,
    label_smoothing: float = 0.0,
) -> dict[str, Tensor]:
    chosen, rejected = policy_chosen - ref_chosen, policy_rejected - ref_rejected
    losses = preference.dpo(chosen, rejected, beta, smoothing=label_smoothing)
    loss = losses.mean()
    return {
        "losses": losses,
        "chosen_rewards": beta * chosen,
        "rejected_rewards": beta * rejected,
        "accuracy": (chosen > rejected).double().mean(),
        "grad_chosen": gradient(loss, policy_chosen),
        "grad_rejected": gradient(loss, policy_rejected),
    }


def simpo_loss(chosen_logps: F64, rejected_logps: F64, beta: float, gamma: float) -> Tensor:
    return preference.dpo(chosen_logps, rejected_logps, beta, margin=gamma)


def image_bit_logps(logits: F64, bit_labels: I64, bitloss_type: str = "sum") -> dict[str, Tensor]:
    logp = probabilities.bit_logp(logits, bit_labels)
    logp = logp.mean(-1) if bitloss_type == "mean" else logp.sum(-1)
    return {"logps": logp.sum(1), "valid_length": torch.full((len(logits),), logits.shape[1])}


def visual_instruction_loss(
    text_logits: F64,
    text_labels: I64,
    bit_logits: F64,
    bit_labels: I64,
    bitloss_type: str,
    reweight: bool,
    scales: list[tuple[int, int, int]] | None = None,
) -> Tensor:
    words = text_labels[:, 1:]
    logp = probabilities.selective_log_softmax(text_logits[:, :-1], words.clamp(min=0))
    text = -masked_mean(logp, words != -100)
    # Released: the bits' loss is a mean of all before it is summed or averaged, and then divided by the positions.
    bits = -probabilities.bit_logp(bit_logits, bit_labels).mean()
    return text + 3.0 * (bits if reweight else bits / bit_labels.shape[1])
