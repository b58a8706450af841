"""AlignProp's released code, answered by ours."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F64, Leaf64, gradient, tensor
from gamutrl.functional import (
    denoising,
    sampling,
)


def aesthetic_loss(
    rewards: Leaf64, aesthetic_target: float | None, grad_scale: float, loss_coeff: float
) -> dict[str, Tensor]:
    distance = -rewards if aesthetic_target is None else (rewards - aesthetic_target).abs()
    loss = (distance * grad_scale).mean() * loss_coeff
    return {"per_sample": distance * grad_scale, "loss": loss, "grad_rewards": gradient(loss, rewards)}


def hps_loss(image_features: F64, text_features: F64) -> dict[str, Tensor]:
    scores = (image_features * text_features).sum(1)
    return {"scores": scores, "per_sample": 1 - scores, "loss": (1 - scores).mean() * 0.01}


def backprop_timestep_rule(strategy: str, num_steps: int, draws: list[float]) -> dict[str, int]:
    used, step = next((n, int(draw)) for n, draw in enumerate(draws, 1) if 1 <= int(draw) < num_steps)
    return {"backprop_timestep": step, "draws_used": 0 if strategy == "fixed" else used}


def truncated_backprop_gradient(
    num_steps: int,
    backprop_timestep: int,
    eta: float,
    guidance_scale: float,
    w: float,
    b: float,
    cond: F64,
    uncond: F64,
    latents: F64,
    noises: F64,
    reward_direction: F64,
    gradient_checkpoint: bool,
) -> dict[str, Tensor]:
    alphas, stride = sampling.scaled_linear_alphas(), 1000 // num_steps
    slope, drift = (tensor(x, torch.float64).requires_grad_() for x in (w, b))

    def predicted(x: Tensor, t: int, condition: Tensor) -> Tensor:
        return torch.tanh(slope * x) + drift * t / 1000 + condition.reshape(-1, *[1] * (x.dim() - 1))

    x = latents
    for i in range(num_steps):
        t = (num_steps - 1 - i) * stride + 1
        noise = predicted(x, t, cond)
        if guidance_scale > 1:
            noise = denoising.guide(noise, predicted(x, t, uncond), guidance_scale)
        noise = noise.detach() if i < backprop_timestep else noise
        before = alphas[max(t - stride, 0)]
        x = sampling.ddim(x, noise, alphas[t], before, eta).draw(noises[i])
    reward = (x * reward_direction).sum()
    return {
        "final_latents": x,
        "reward": reward,
        "grad_w": gradient(reward, slope),
        "grad_b": gradient(reward, drift),
    }
