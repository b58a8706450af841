"""DanceGRPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, Leaf64, gradient
from gamutrl.functional import advantages as adv
from gamutrl.functional import sampling, selection


def sigma_schedule(steps: int, shift: float, timestep_fraction: float) -> dict[str, Any]:
    sigmas = sampling.shifted_sigmas(steps, shift)
    return {
        "sigmas": sigmas,
        "timesteps": (sigmas[:-1] * 1000).int(),
        "usable_steps": steps - 1,
        "train_timesteps": int((steps - 1) * timestep_fraction),
    }


def flux_step(
    steps: int,
    shift: float,
    index: int,
    eta: float,
    grpo: bool,
    sde_solver: bool,
    latents: F32,
    model_output: F32,
    noise: F32 | None = None,
    prev_sample: F32 | None = None,
) -> dict[str, Any]:
    return compose.dance_step(steps, shift, index, eta, grpo, sde_solver, latents, model_output, noise, prev_sample)


def group_advantage(rewards: F64, num_generations: int, use_group: bool, gathered_rewards: F64 | None = None) -> Tensor:
    if not use_group:
        return adv.normalize_by(rewards, rewards if gathered_rewards is None else gathered_rewards)
    full = len(rewards) // num_generations * num_generations
    advantage = compose.grouped(rewards[:full], num_generations, eps=1e-8, singleton="nan")
    return torch.cat([advantage, torch.zeros_like(rewards[full:])])


def best_of_n_selection(
    vq_rewards: F64, mq_rewards: F64, vq_coef: float, mq_coef: float, bestofn: int, num_generations: int
) -> dict[str, Any]:
    vq, mq = (compose.grouped(rewards, num_generations, eps=1e-8) for rewards in (vq_rewards, mq_rewards))
    best, worst = selection.extremes(vq_coef * vq + mq_coef * mq, bestofn)
    return {"vq_advantages": vq, "mq_advantages": mq, "top_indices": best, "bottom_indices": worst}


def grpo_step_loss(
    log_prob: Leaf64,
    old_log_prob: F64,
    advantages: F64,
    adv_clip_max: float,
    clip_range: float,
    gradient_accumulation_steps: int,
    train_timesteps: int,
) -> dict[str, Tensor]:
    terms = compose.step_terms(log_prob, old_log_prob, advantages, adv_clip_max, clip_range)
    loss = terms.mean() / (gradient_accumulation_steps * train_timesteps)
    return {"loss": loss, "grad_log_prob": gradient(loss, log_prob)}


def multi_head_loss(
    log_prob: Leaf64, old_log_prob: F64, vq_advantages: F64, mq_advantages: F64, vq_coef: float, mq_coef: float
) -> dict[str, Tensor]:
    heads = ((vq_coef, vq_advantages), (mq_coef, mq_advantages))
    terms = [weight * compose.step_terms(log_prob, old_log_prob, advantage, 5, 1e-4) for weight, advantage in heads]
    loss = torch.stack(terms).sum(0).mean() / (4 * 9)
    return {"loss": loss, "grad_log_prob": gradient(loss, log_prob)}
