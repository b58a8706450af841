"""GRPO-Guard's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, I64, Leaf64, gradient
from gamutrl.functional import divergences, objectives, ratios


def sde_step_with_stats(
    x: F64, v: F64, sigmas: F64, step_index: I64, noise_level: float, sde_type: str, noise: F64, prev_sample: F64
) -> dict[str, Tensor]:
    kind: Any = "preserving" if sde_type == "cps" else "flow"
    answer = compose.flow_step(sigmas, step_index, noise_level, x, v, noise, prev_sample, kind)
    return {
        "prev_sample": answer["prev_sample"],
        "log_prob": answer["log_prob"],
        "prev_mean": answer["prev_sample_mean"],
        "std_dev_t": answer["std_dev_t"],
        "sqrt_dt": answer["sqrt_dt"],
    }


def guard_loss(
    log_prob: Leaf64,
    old_log_prob: F64,
    prev_sample_mean: Leaf64,
    old_prev_sample_mean: F64,
    prev_sample_mean_ref: F64,
    std_dev_t: F64,
    sqrt_dt: F64,
    advantages: F64,
    adv_clip_max: float,
    clip_range: float,
    beta: float,
    rationorm: bool,
) -> dict[str, Any]:
    ratio = ratios.log_ratio(log_prob, old_log_prob)
    scale: Tensor | float = 1.0
    if rationorm:
        std = sqrt_dt.mean() * std_dev_t.mean()
        ratio = ratios.normalized_log_ratio(ratio, prev_sample_mean, old_prev_sample_mean, std, shared_drift=True)
        scale = sqrt_dt.mean().square()
    advantages = advantages.clamp(-adv_clip_max, adv_clip_max)
    policy = objectives.clipped_surrogate(ratio, advantages, clip_range).mean() / scale
    kl = divergences.gaussian_kl(prev_sample_mean, prev_sample_mean_ref, std_dev_t).mean() if beta > 0 else None
    loss = policy if kl is None else policy + beta * kl
    return {
        "ratio": ratio.exp(),
        "policy_loss": policy,
        "kl_loss": kl,
        "loss": loss,
        "grad_log_prob": gradient(loss, log_prob),
        "grad_prev_sample_mean": gradient(loss, prev_sample_mean),
    }


def guard_loss_per_sample(
    log_prob: Leaf64,
    old_log_prob: F64,
    prev_sample_mean: Leaf64,
    old_prev_sample_mean: F64,
    std_dev_t: F64,
    sqrt_dt: F64,
    advantages: F64,
    adv_clip_max: float,
    clip_range: float,
) -> dict[str, Tensor]:
    std = sqrt_dt.mean() * std_dev_t.mean()
    plain = ratios.log_ratio(log_prob, old_log_prob)
    ratio = ratios.normalized_log_ratio(plain, prev_sample_mean, old_prev_sample_mean, std)
    advantages = advantages.clamp(-adv_clip_max, adv_clip_max)
    loss = objectives.clipped_surrogate(ratio, advantages, clip_range).mean() / sqrt_dt.mean().square()
    return {
        "loss": loss,
        "grad_log_prob": gradient(loss, log_prob),
        "grad_prev_sample_mean": gradient(loss, prev_sample_mean),
        "ratio_mean": ratio.exp().mean(),
        "clipfrac": ((ratio.exp() - 1).abs() > clip_range).double().mean(),
    }
