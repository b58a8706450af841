"""Semantic-Relative-PO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F64, Leaf64, gradient
from gamutrl.functional import denoising, sampling
from gamutrl.rewards import alignment


def time_shift(shift: float, t: float) -> Any:
    return sampling.shift_time(t, shift)


REALISTIC = ("Natural-lighting", "Detail", "Detailed", "Real")
STYLISED = ("Concept art", "Painting", "Anime", "Flat", "Oil")


def control_words(caption: str, step: int) -> dict[str, str]:
    words = {"positive": REALISTIC, "negative": STYLISED}
    return {sign: f"{chosen[step % len(chosen)]}. {caption}" for sign, chosen in words.items()}


def semantic_relative_reward(
    head: str, image_feat: Leaf64, pos_feat: F64, neg_feat: F64, k: float, logit_scale: float
) -> dict[str, Tensor]:
    scale = 1.0 if head == "hps" else logit_scale / 20
    score = scale * alignment.relative_preference(image_feat, pos_feat, neg_feat, k)
    return {"score": score, "grad_image_feat": gradient(score.sum(), image_feat)}


def direct_align_step(
    x0: F64,
    noise: F64,
    pred_denoise: Leaf64,
    pred_invert: Leaf64,
    f_pos: F64,
    f_neg: F64,
    discount_pos: list[float],
    discount_inv: list[float],
    groundtruth_ratio: float,
    mid_timestep: int,
    shift: float,
    timestep_length: int,
    train_timestep: list[int],
    vis_sampling_step: int,
) -> dict[str, Any]:
    length, mid = timestep_length, mid_timestep
    ends = sampling.shifted_sigmas(vis_sampling_step, shift)[train_timestep]
    sigmas = torch.linspace(float(ends[0]), float(ends[1]), length).double()
    branches, losses = [], []
    for inversion, predicted, discounts in ((1, pred_denoise, discount_pos), (0, pred_invert, discount_inv)):
        levels = denoising.aligned_levels(length, mid, groundtruth_ratio, inverse=not inversion)
        sigma_in, sigma_out = sigmas[list(levels)]
        clean = denoising.aligned(x0, noise, sigma_in, sigma_out, predicted)
        image = ((clean / 0.3611 + 0.1159) / 2 + 0.5).clamp(0, 1)
        discount = torch.linspace(discounts[0], discounts[1], length).double()[length - levels[inversion]]
        first, second = (f_pos, f_neg) if inversion else (f_neg, f_pos)
        score = ((1 + discount) * first - second) @ image.flatten()
        losses.append((0.7 - score).relu() / 2)
        branches.append(
            {
                "inversion": inversion,
                "sigma_in": sigma_in,
                "sigma_out": sigma_out,
                "timestep": int(sigma_in * 1000),
                "x_in": sigma_in * noise + (1 - sigma_in) * x0,
                "x0": clean,
                "discount": discount,
                "first": "positive" if inversion else "negative",
                "score": score,
            }
        )
    return {
        "branches": branches,
        "last_loss": losses[-1],
        "grad_pred_denoise": gradient(losses[0], pred_denoise),
        "grad_pred_invert": gradient(losses[1], pred_invert),
    }
