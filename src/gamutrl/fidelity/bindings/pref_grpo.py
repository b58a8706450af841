"""Pref-GRPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.fidelity.inputs import F64, Leaf64, gradient
from gamutrl.functional import (
    objectives,
    ratios,
)


def policy_loss(
    log_prob: Leaf64,
    old_log_prob: F64,
    prev_mean: F64,
    old_prev_mean: F64,
    noise_scale: float,
    dt: float,
    advantage: F64,
    adv_clip_max: float,
    clip_range: float,
    rationorm: bool,
) -> dict[str, Any]:
    ratio, scale = ratios.log_ratio(log_prob, old_log_prob).reshape(1), 1.0
    if rationorm:
        ratio = ratios.normalized_log_ratio(ratio, prev_mean[None], old_prev_mean[None], noise_scale)
        scale = abs(dt)
    advantage = advantage.clamp(-adv_clip_max, adv_clip_max)
    loss = objectives.clipped_surrogate(ratio, advantage, clip_range).mean() / scale
    return {"ratio": ratio.exp(), "loss": loss, "grad_log_prob": gradient(loss, log_prob).reshape(1)}
