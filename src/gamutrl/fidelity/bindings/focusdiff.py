"""FocusDiff's released code, answered by ours."""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, I64, Leaf64, gradient
from gamutrl.functional import (
    denoising,
    probabilities,
)
from gamutrl.rewards import alignment


def pair_advantages(rewards: F64, group_size: int, paired: bool) -> Tensor:
    return compose.grouped(rewards, 2 * group_size if paired else group_size)


def pair_grpo_loss(
    logps: Leaf64,
    ref_logps: F64,
    advantages: F64,
    beta: float,
    set_epsilon: bool,
    epsilon: float,
    mask: F64 | None = None,
) -> dict[str, Tensor]:
    mask = torch.ones_like(logps) if mask is None else mask
    loss = compose.grpo_loss(logps, advantages, mask, ref=ref_logps, beta=beta, low=epsilon)
    return {"loss": loss, "grad_logps": gradient(loss, logps)}


def cfg_token_logps(hidden_cond: F64, hidden_uncond: F64, img_ids: I64, guidance_scale: float) -> Tensor:
    logits = denoising.guide(hidden_cond, hidden_uncond, guidance_scale, "divided")
    first = logits.shape[1] - img_ids.shape[1] - 1
    return probabilities.selective_log_softmax(logits[:, first:-1], img_ids)


def yes_no_reward(logits: F64, vocab: dict[str, int]) -> Tensor:
    yes, no = ([vocab[word] for word in words] for words in (("yes", "Yes", "YES"), ("no", "No", "NO")))
    return alignment.yes_probability(logits, yes, no).round(decimals=4)


BUCKETS = {"style_tone": "style", **{name: name for name in ("overall", "color", "counting", "position", "text")}}


def paircomp_scores(scores: list[list[float]], categories: list[str]) -> dict[str, dict[str, list[float]]]:
    def bucket(word: str) -> dict[str, list[float]]:
        mine = [row for row, category in zip(scores, categories) if word in category.lower()]
        return {
            "arithmetic": [statistics.fmean(row) for row in mine],
            "geometric": [math.prod(row) ** (1 / len(row)) for row in mine],
        }

    return {name: bucket(word) for name, word in BUCKETS.items()}
