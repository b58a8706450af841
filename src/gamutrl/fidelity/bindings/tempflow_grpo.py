"""TempFlow-GRPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, Labels, Leaf64, gradient
from gamutrl.functional import divergences, sampling


def branch_step(x: F64, v: F64, sigmas: F64, step_index: int, deterministic: bool, noise: F64) -> dict[str, Any]:
    sigma, sigma_next = sigmas[step_index], sigmas[step_index + 1]
    if deterministic:
        return {"prev_sample": sampling.flow_sde(x, v, sigma, sigma_next, 0.0).mean}
    step = sampling.flow_sde(
        x.repeat_interleave(6, 0), v.repeat_interleave(6, 0), sigma, sigma_next, 0.7, sigma_one=sigmas[1]
    )
    prev_sample = step.draw(noise)
    return {
        "prev_sample": prev_sample,
        "log_prob": sampling.gaussian_logp(prev_sample, step.mean, step.std),
        "prev_mean": step.mean,
        "noise_scale": step.std.reshape(1),
    }


def noise_weighted_loss(
    log_prob: Leaf64,
    old_log_prob: F64,
    advantages: F64,
    adv_clip_max: float,
    clip_range: float,
    beta: float,
    prev_sample_mean: Leaf64,
    prev_sample_mean_ref: F64,
    noise_scale: F64,
    weight_const: float,
) -> dict[str, Any]:
    terms = compose.step_terms(log_prob, old_log_prob, advantages, adv_clip_max, clip_range)
    policy = (weight_const * noise_scale * terms).mean()
    kl = divergences.gaussian_kl(prev_sample_mean, prev_sample_mean_ref, noise_scale).mean()
    loss = policy + beta * kl if beta > 0 else policy
    return {
        "policy_loss": policy,
        "kl_loss": kl if beta > 0 else None,
        "loss": loss,
        "grad_log_prob": gradient(loss, log_prob),
        "grad_mean": gradient(loss, prev_sample_mean),
    }


def process_advantage(branch_rewards: F64, prompts: Labels) -> dict[str, Tensor]:
    advantage = compose.by_column(branch_rewards, prompts, unbiased=False)
    return {"advantages": advantage, "keep": (advantage != 0).any(1)}
