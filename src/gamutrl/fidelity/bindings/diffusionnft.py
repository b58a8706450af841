"""DiffusionNFT's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, Labels, Leaf64, gradient
from gamutrl.functional import (
    denoising,
    divergences,
    sampling,
    shaping,
)
from gamutrl.rewards import ocr


def group_advantage(rewards: F64, prompts: Labels, global_std: bool) -> Tensor:
    return compose.by_column(rewards, prompts, scale="batch" if global_std else "group", unbiased=False)


def flow_sde_step(
    x: F64, v: F64, sigmas: F64, index: int, eta: float, noise: F64, prev_sample: F64
) -> dict[str, Tensor]:
    step = sampling.flow_sde(x, v, sigmas[index], sigmas[index + 1], eta, sigma_one=sigmas[1])
    prev_sample = compose.drawn(step, noise, prev_sample)
    logp = sampling.gaussian_logp(prev_sample, step.mean, step.std)
    return {"prev_sample": prev_sample, "pred_x0": step.clean, "log_prob": logp}


def ode_sampling(A: F64, b: F64, eta: float, sigmas: F64, solver: str, z: F64) -> dict[str, Any]:
    def velocity(x: Tensor, step: int) -> Tensor:
        return x @ A.T + sigmas[step] * b

    latents = sampling.multistep(z, velocity, sigmas, order=2 if solver == "dpm2" else 1)
    return {"final": latents[-1], "all_latents": latents}


def nft_loss(
    x0: F64,
    noise: F64,
    t: F64,
    v_theta: Leaf64,
    v_old: F64,
    v_ref: F64,
    advantages: F64,
    beta: float,
    adv_clip_max: float,
    kl_beta: float,
    adv_mode: str,
) -> dict[str, Tensor]:
    good = denoising.optimality(advantages, adv_clip_max, adv_mode.removesuffix("_only"))  # type: ignore[arg-type]
    noised = denoising.corrupt(x0, noise, t)
    contrast = denoising.negative_aware(v_theta, v_old, noised, x0, t, good, beta)
    policy = (contrast.loss * adv_clip_max).mean()
    kl = divergences.mean_square(v_theta, v_ref)
    loss = policy + kl_beta * kl.mean()
    return {
        "r": good,
        "positive_loss": contrast.positive,
        "negative_loss": contrast.negative,
        "policy_loss": loss,  # Released: the KL is added to it in place.
        "kl": kl,
        "loss": loss,
        "grad_v_theta": gradient(loss, v_theta),
    }


def ocr_reward(lines: list[ocr.Line] | None, prompt: str) -> float:
    return ocr.rendered_text(lines, ocr.quoted(prompt))


def old_policy_decay(step: int, decay_type: int) -> float:
    points = (((0, 0), (1, 0)), ((0, 0), (500, 0.5)), ((75, 0), (75 + 0.999 / 0.0075, 0.999)))[decay_type]
    return shaping.piecewise(step, points)
