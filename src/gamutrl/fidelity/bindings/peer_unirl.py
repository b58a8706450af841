"""UniRL, answered by ours."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, Leaf, gradient
from gamutrl.functional import denoising, divergences, objectives, ratios, sampling, shaping, windows

# -- samplers ---------------------------------------------------------------------------------------------------------


def _sde_step(kind: Any, form: Any, model_output: Tensor, sample: Tensor, noise: Tensor, **levels: Any) -> Any:
    step = sampling.flow_sde(sample, model_output, kind=kind, **levels)
    prev = step.draw(noise).detach()
    logp = sampling.gaussian_logp(prev, step.mean, step.std, form)
    return {
        "prev_sample": prev,
        "prev_sample_mean": step.mean,
        "log_prob": logp,
        "grad_model_output": gradient(logp.sum(), model_output),
    }


def flow_sde_step(
    model_output: Leaf, sample: F32, noise: F32, sigma: float, sigma_next: float, eta: float, sigma_max: float
) -> Any:
    levels = {"sigma": sigma, "sigma_next": sigma_next, "eta": eta, "sigma_one": sigma_max}
    return _sde_step("flow", "density", model_output, sample, noise, **levels)


def dance_sde_step(
    model_output: Leaf, sample: F32, noise: F32, sigma: float, sigma_next: float, eta: float, sigma_max: float
) -> Any:
    levels = {"sigma": sigma, "sigma_next": sigma_next, "eta": eta}
    return _sde_step("constant", "density", model_output, sample, noise, **levels)


def cps_sde_step(
    model_output: Leaf, sample: F32, noise: F32, sigma: float, sigma_next: float, eta: float, sigma_max: float
) -> Any:
    levels = {"sigma": sigma, "sigma_next": sigma_next, "eta": eta}
    return _sde_step("preserving", "square", model_output, sample, noise, **levels)


def dpm2_ode_trajectory(initial_sample: F32, model_outputs: F32, sigmas: F32) -> list[Tensor]:
    return sampling.multistep(initial_sample, lambda _, i: model_outputs[i], sigmas, order=2)[1:]


def sigma_schedule(num_steps: int, shift: float, mu: float | None, time_shift_type: str) -> Tensor:
    if mu is not None:
        shift = math.exp(mu) if time_shift_type == "exponential" else mu
    return sampling.shifted_sigmas(num_steps, shift)


def dynamic_shift_mu(image_seq_len: int) -> float:
    return sampling.resolution_mu(image_seq_len)


def mix_grpo_window(
    steps: list[int],
    strategy: str,
    num_timesteps: int,
    window_size: int,
    overlap_size: int,
    iters_per_window: int,
    init_timestep: int,
    roll_back: bool,
) -> list[list[int]]:
    def window(step: int) -> range:
        if strategy == "all":
            return range(num_timesteps)
        if strategy == "random":
            return windows.random_window(step, num_timesteps, window_size)
        return windows.progressive_window(
            step,
            num_timesteps,
            window_size,
            pace=iters_per_window,
            overlap=overlap_size,
            start=init_timestep,
            wrap=roll_back,
        )

    return [list(window(step)) for step in steps]


def sde_index_subset(
    steps: list[int], num_timesteps: int, num_sde_steps: int | None, timestep_fraction: float | list[float]
) -> list[list[int]]:
    start, end = timestep_fraction if isinstance(timestep_fraction, list) else (0.0, timestep_fraction)
    pool = range(int(num_timesteps * start), int(num_timesteps * end))
    return [windows.drawn_steps(step, pool, num_sde_steps) for step in steps]


# -- advantages and losses --------------------------------------------------------------------------------------------


def group_advantages(
    rewards: F32, group_size: int, normalize: bool, scope: str, use_global_std: bool = False
) -> Tensor:
    size = len(rewards) if scope == "global" else group_size
    if not normalize:
        return compose.grouped(rewards, size, scale="none")
    if scope == "global" or use_global_std:
        return compose.grouped(rewards, size, scale="batch", eps=1e-8)
    return compose.grouped(rewards, size, unbiased=False, eps=1e-8, eps_inside=True)


def clip_range_schedule(clip_range: float, progress: float, schedule: str) -> float:
    end, shape = {"linear_decay": (0.5, "linear"), "cosine_decay": (0.0, "cosine")}.get(schedule, (1.0, "constant"))
    return shaping.schedule(clip_range, clip_range * end, progress, shape)  # type: ignore[arg-type]


def flow_grpo_clip_loss(
    new_logp: Leaf, old_logp: F32, advantages: F32, clip_range: float, clip_range_high: float | None
) -> Any:
    ratio = ratios.log_ratio(new_logp, old_logp)
    high = clip_range if clip_range_high is None else clip_range_high
    terms = objectives.clipped_surrogate(ratio, advantages, clip_range, high)
    moved = ratio.exp()
    above, below = moved - 1 > high, 1 - moved > clip_range
    return {
        "loss": terms,
        "grad_new_logp": gradient(terms.sum(), new_logp),
        "clip_fraction": (above | below).float().mean(),
        "clipfrac_gt_one": above.float().mean(),
        "clipfrac_lt_one": below.float().mean(),
        "approx_kl": divergences.kl_estimate(new_logp, old_logp, "k2").mean(),
        "ratio_mean": moved.mean(),
    }


def drpo_loss(new_logp: Leaf, old_logp: F32, advantages: F32, epsilon: float, mu_weighted: bool) -> Any:
    ratio = ratios.log_ratio(new_logp, old_logp, bound=20)
    weight = old_logp.exp() if mu_weighted else torch.ones_like(old_logp)
    terms = objectives.quadratic_surrogate(ratio, advantages, epsilon, weight)
    room = epsilon / weight
    return {
        "loss": terms,
        "grad_new_logp": gradient(terms.sum(), new_logp),
        "clipfrac_upper": (ratio.exp() > 1 + room).float().mean(),
        "clipfrac_lower": (ratio.exp() < 1 - room).float().mean(),
        "drpo_penalty_mean": objectives.quadratic_penalty(ratio, advantages, epsilon, weight).mean(),
    }


def flow_dppo_loss(
    new_logp: Leaf,
    old_logp: F32,
    advantages: F32,
    new_means: F32,
    old_means: F32,
    sigma_t: F32,
    kl_mask_threshold: float,
) -> Any:
    ratio = ratios.log_ratio(new_logp, old_logp)
    rows, steps = new_means.shape[:2]
    std = sigma_t.reshape(1, steps).expand(rows, steps).flatten()
    kl = divergences.gaussian_kl(new_means.flatten(0, 1), old_means.flatten(0, 1), std).view(rows, steps)
    far, outward = kl >= kl_mask_threshold, objectives.outward(ratio, advantages)
    terms = torch.where(far & outward, 0.0, objectives.unclipped_surrogate(ratio, advantages))
    held = far & outward
    return {
        "loss": terms,
        "grad_new_logp": gradient(terms.sum(), new_logp),
        "kl_mask_fraction": far.float().mean(),
        "pos_rm_fraction": (held & (advantages > 0)).float().mean(),
        "neg_rm_fraction": (held & (advantages < 0)).float().mean(),
        "masked_fraction": held.float().mean(),
        "kl_new_old_mean": kl.mean(),
    }


def diffusion_nft_loss(
    new_pred: Leaf,
    old_pred: F32,
    x0: F32,
    noise: F32,
    t: float,
    advantages: F32,
    beta: float,
    adv_clip_max: float,
    use_adaptive_weight: bool,
) -> Any:
    good = denoising.optimality(advantages, adv_clip_max)
    least = 1e-5 if use_adaptive_weight else None
    noised = denoising.corrupt(x0, noise, t)
    contrast = denoising.negative_aware(new_pred, old_pred, noised, x0, t, good, beta, least_weight=least)
    policy_loss = contrast.loss.mean()
    loss = policy_loss * adv_clip_max
    return {
        "loss": loss,
        "grad_new_pred": gradient(loss, new_pred),
        "policy_loss": policy_loss,
        "pos_loss_mean": contrast.positive.mean(),
        "neg_loss_mean": contrast.negative.mean(),
        "r_mean": good.mean(),
    }
