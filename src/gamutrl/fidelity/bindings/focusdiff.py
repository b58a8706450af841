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
    shaping,
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


def gt_image_prob(step: int, s1: float = 50, s2: float = 450, s3: float = 1200, prob: float = 0.25) -> float:
    return shaping.piecewise(step, ((s1, 1.0), (s2, prob), (s3, 0.0)))


def lr_factor(
    x: float,
    warm_up_steps: float = 45,
    convert_steps: float = 500,
    total_steps: float = 2000,
    max_lr: float = 5e-6,
    convert_lr: float = 1e-6,
    min_lr: float = 2e-7,
) -> float:
    points = ((0, 0), (warm_up_steps, 1), (convert_steps, convert_lr / max_lr), (total_steps, min_lr / max_lr))
    return shaping.piecewise(x, points, beyond=True)
