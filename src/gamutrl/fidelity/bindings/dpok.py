"""DPOK's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, I64, Leaf, Leaf64, gradient
from gamutrl.functional import divergences, objectives, ratios, sampling
from gamutrl.functional.sampling import like


def _ddim_step(scheduler: dict[str, Any], x: Tensor, predicted: Tensor, *levels: Any) -> sampling.Transition:
    step = compose.ddim_step(scheduler, x, predicted, *levels)
    if scheduler["prediction_type"] != "sample":
        return step
    # Released: a prediction of the clean latent is used as the noise too.
    toward_zero = compose.ddim_step({**scheduler, "prediction_type": "epsilon"}, x, predicted, *levels)
    return step._replace(mean=toward_zero.mean + like(levels[1], x).sqrt() * (step.clean - toward_zero.clean))


def step_logprob(
    scheduler: dict[str, Any], eta: float, timestep: I64, sample: F32, model_output: F32, noise: F32
) -> dict[str, Tensor]:
    alpha, alpha_next = compose.ddim_levels(scheduler, timestep, clamped=False)
    step = _ddim_step(scheduler, sample, model_output, alpha, alpha_next, eta)
    prev_sample = step.draw(noise)
    return {
        "prev_sample": prev_sample,
        "pred_original_sample": step.clean,
        "log_prob": sampling.gaussian_logp(prev_sample, step.mean, step.std),
        "std_dev_t": step.std,
        "alpha_prod_t": alpha,
        "alpha_prod_t_prev": alpha_next,
    }


def step_forward_logprob(
    scheduler: dict[str, Any], eta: float, timestep: I64, sample: F32, model_output: Leaf, next_sample: F32
) -> dict[str, Tensor]:
    alpha, alpha_next = compose.ddim_levels(scheduler, timestep, clamped=False)
    step = _ddim_step(scheduler, sample, model_output, alpha, alpha_next, eta)
    logp = sampling.gaussian_logp(next_sample, step.mean, step.std)
    return {"log_prob": logp, "grad_model_output_of_sum": gradient(logp.sum(), model_output)}


def policy_loss(
    args: dict[str, Any],
    count: int,
    final_reward: F64,
    value: F64,
    log_prob: Leaf64,
    old_log_prob: F64,
    noise_pred: Leaf64,
    ref_noise_pred: F64,
) -> dict[str, Any]:
    advantage = final_reward - value if args["v_flag"] else final_reward
    ratio = ratios.log_ratio(log_prob, old_log_prob)
    policy = objectives.clamped_surrogate(ratio, args["reward_weight"] * advantage, args["ratio_clip"]).mean()
    kl = divergences.mean_square(noise_pred, ref_noise_pred).mean()
    loss = policy + args["kl_weight"] * kl if count > args["kl_warmup"] else policy
    loss = loss / args["gradient_accumulation_steps"]
    return {
        "loss": loss,
        "adv": advantage,
        "ratio": torch.exp(ratio).clamp(1 - args["ratio_clip"], 1 + args["ratio_clip"]),
        "kl": kl,
        "grad_log_prob": gradient(loss, log_prob),
        "grad_noise_pred": gradient(loss, noise_pred),
    }
