"""Flow-DPPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, I64, Labels, Leaf64, gradient
from gamutrl.functional import advantages as adv
from gamutrl.functional import (
    divergences,
    objectives,
    ratios,
    sampling,
)


def group_advantage(
    rewards: F64, parent_ids: Labels, normalize: bool, scope: str, use_global_std: bool
) -> dict[str, Tensor]:
    if parent_ids is None:
        return {"advantages": torch.zeros_like(rewards)}
    group = torch.zeros_like(parent_ids) if scope == "global" else parent_ids
    if not normalize:
        return {"advantages": adv.group_normalize(rewards, group, scale="none")}
    if scope == "global" or use_global_std:
        return {"advantages": adv.group_normalize(rewards, group, scale="batch", eps=1e-8)}
    return {"advantages": adv.group_normalize(rewards, group, unbiased=False, eps=1e-8, eps_inside=True)}


def kl_adv_mask_loss(
    new_logp: Leaf64,
    old_logp: F64,
    new_means: F64,
    old_means: F64,
    sigma_t: F64,
    advantages: F64,
    kl_mask_threshold: float,
) -> dict[str, Any]:
    log_ratio = ratios.log_ratio(new_logp, old_logp)
    advantage = advantages[:, None].expand_as(log_ratio)
    std = sigma_t.expand_as(log_ratio).flatten()
    kl = divergences.gaussian_kl(new_means.flatten(0, 1), old_means.flatten(0, 1), std).view_as(log_ratio)
    far = kl >= kl_mask_threshold
    held = far & objectives.outward(log_ratio, advantage)
    terms = torch.where(held, 0.0, objectives.unclipped_surrogate(log_ratio, advantage))
    loss, ratio = terms.mean(), log_ratio.exp()
    return {
        "loss": loss,
        "loss_per_element": terms,
        "grad_new_logp": gradient(loss, new_logp),
        "metrics": {
            "ratio_mean": ratio.mean(),
            "ratio_std": ratio.std() if ratio.numel() > 1 else 0.0,
            "ratio_min": ratio.min(),
            "ratio_max": ratio.max(),
            "approx_kl": divergences.kl_estimate(new_logp, old_logp, "k2").mean(),
            "kl_new_old_mean": kl.mean(),
            "kl_new_old_max": kl.max(),
            "kl_mask_fraction": far.float().mean(),
            "pos_rm_fraction": (held & (advantage > 0)).float().mean(),
            "neg_rm_fraction": (held & (advantage < 0)).float().mean(),
            "masked_fraction": held.float().mean(),
            "unmasked_fraction": (~held).float().mean(),
        },
    }


def sde_kernel_step(
    x: F64, v: F64, sigma: float, sigma_next: float, eta: float, kind: str, noise: F64, prev_sample: F64
) -> dict[str, Any]:
    name: Any = {"dance": "constant", "cps": "preserving"}.get(kind, kind)
    step = sampling.flow_sde(x, v, sigma, sigma_next, eta, name)
    prev_sample = compose.drawn(step, noise, prev_sample)
    form: Any = "square" if kind == "cps" else "density"
    logp = sampling.gaussian_logp(prev_sample, step.mean, step.std, form) if eta >= 1e-7 else None
    return {"prev_sample": prev_sample, "log_prob": logp, "prev_mean": step.mean}


def transition_sigma(sigmas: F64, target_steps: I64, eta: float, add_kl_coefficient: bool) -> dict[str, Tensor]:
    sigma, sigma_next = sigmas[target_steps], sigmas[target_steps + 1]
    std = eta * sampling.flow_noise_level(sigma) * (sigma - sigma_next).sqrt()
    return {"sigma_t": std if add_kl_coefficient else torch.ones_like(std)}
