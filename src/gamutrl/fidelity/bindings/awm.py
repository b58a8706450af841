"""AWM's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import F64, Labels, Leaf64, gradient
from gamutrl.functional import advantages as adv
from gamutrl.functional import denoising, divergences, objectives, ratios, sampling, windows


def group_advantage(rewards: F64, prompts: Labels, global_std: bool) -> Tensor:
    scale: Any = "batch" if global_std else "group"
    return adv.group_normalize(rewards[:, 0], prompts, scale=scale, unbiased=False)[:, None]


def weighted_matching_log_prob(
    v_pred: Leaf64, x0: F64, noise: F64, t: F64, weighting: str, ghuber_power: float
) -> dict[str, Tensor]:
    kind: Any = {"Uniform": "uniform", "t**2": "t2", "ghuber": "power"}.get(weighting, weighting)
    logp = denoising.matching_logp(v_pred, x0, noise, t, kind, ghuber_power)
    std = 0.7 * sampling.flow_noise_level(t)
    return {"log_prob": logp, "grad_v_pred": gradient(logp.sum(), v_pred), "std_dev_t": std}


def awm_loss(
    log_probs: Leaf64,
    old_log_probs: F64,
    v: Leaf64,
    v_ref: F64,
    v_ema: F64,
    std_dev_t: F64,
    advantages: F64,
    adv_clip_max: float,
    advantage_max: float | None,
    clip_range: float,
    beta: float,
    ema_beta: float,
    kl_weight: str,
    loss_type: str,
) -> dict[str, Any]:
    advantages = advantages.clamp(-adv_clip_max, adv_clip_max)
    if advantage_max is not None:
        advantages = advantages / adv_clip_max * advantage_max
    ratio = ratios.log_ratio(log_probs, old_log_probs)
    ratio = ratio.mean(0) if loss_type == "sum_first" else ratio
    policy = objectives.clipped_surrogate(ratio, advantages, clip_range).mean()
    std = std_dev_t.flatten() if kl_weight == "ELBO" else 0.5**0.5
    kl, ema_kl = (divergences.gaussian_kl(v.flatten(0, 1), other.flatten(0, 1), std).mean() for other in (v_ref, v_ema))
    loss = policy + beta * kl + ema_beta * ema_kl if beta else policy
    return {
        "loss": loss,
        "policy_loss": policy,
        "kl_loss": kl if beta else None,
        "ema_kl_loss": ema_kl if beta and ema_beta else None,
        "grad_log_probs": gradient(loss, log_probs),
        "grad_v": gradient(loss, v),
    }


def train_timestep_selection(
    batch_size: int,
    num_steps: int,
    rand_u: list[float],
    time_type: str,
    timestep_fraction: float,
    timesteps: list[float],
    train_timesteps: int,
) -> dict[str, Any]:
    end = int(num_steps * timestep_fraction)
    first = int(time_type != "discrete")
    fixed = [0] if time_type == "discrete_with_init" else []
    indices = fixed + windows.stratified(first, end, train_timesteps - len(fixed), rand_u)
    return {"indices": indices, "timesteps": [timesteps[i] / 1000 for i in indices for _ in range(batch_size)]}
