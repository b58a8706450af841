"""How far one distribution is from another: per-action estimates from log-probabilities, and exact forms.

Estimates take log-probabilities of the sampled actions only; d is log π - log π_ref. Names k1, k2, k3 are those of
J. Schulman, «Approximating KL divergence» (2020).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["k1", "abs", "k2", "k3"]


def kl_estimate(
    logp: Tensor,
    logp_ref: Tensor,
    kind: Estimator = "k3",
    *,
    bound: float | None = None,
    clamp: float | None = None,
    gradient: Literal["own", "k2"] = "own",
) -> Tensor:
    """KL(π || π_ref) of each action, the shape of `logp`.

    k1 is d, abs |d|, k2 d²/2, k3 exp(-d) + d - 1. bound: d is kept within ±bound before the formula (10: Video-R1's
    line; 11: SEED-Bench-R1's; 20: verl). clamp: the value is kept within ±clamp after it (10: verl's `low_var_kl`).
    gradient "k2": the value of the estimator with the gradient of k2, which is unbiased for the KL's (verl's "k3+").
    """
    _same_shape(logp, logp_ref)
    d = logp - logp_ref
    if gradient == "k2":
        square = d.square() / 2
        value = kl_estimate(logp.detach(), logp_ref.detach(), kind, bound=bound, clamp=clamp)
        return value + square - square.detach()
    if bound is not None:
        d = d.clamp(-bound, bound)
    match kind:
        case "k1":
            value = d
        case "abs":
            value = d.abs()
        case "k2":
            value = d.square() / 2
        case "k3":
            value = torch.exp(-d) + d - 1
    return value if clamp is None else value.clamp(-clamp, clamp)


def kl_full(logp_V: Tensor, logp_ref_V: Tensor) -> Tensor:
    """Σ_v p (log p - log p_ref) over the last axis, from two tables of log-probabilities."""
    _same_shape(logp_V, logp_ref_V)
    return (logp_V.exp() * (logp_V - logp_ref_V)).nan_to_num(0.0).sum(-1)


def jensen_shannon(logp_V: Tensor, logp_other_V: Tensor, weight: float = 0.5) -> Tensor:
    """Generalised Jensen-Shannon divergence over the last axis (GKD, arXiv 2306.13649).

    With m = (1 - weight) p + weight q: weight · KL(q || m) + (1 - weight) · KL(p || m); weight 0 is KL(q || p) and
    weight 1 KL(p || q), the limits that give forward and reverse distillation.
    """
    _same_shape(logp_V, logp_other_V)
    if weight == 0:
        return kl_full(logp_other_V, logp_V)
    if weight == 1:
        return kl_full(logp_V, logp_other_V)
    mixture_V = torch.logaddexp(logp_V + math.log(1 - weight), logp_other_V + math.log(weight))
    return weight * kl_full(logp_other_V, mixture_V) + (1 - weight) * kl_full(logp_V, mixture_V)


def gaussian_kl(mean_ND: Tensor, mean_ref_ND: Tensor, std: Tensor | float = 1.0) -> Tensor:
    """KL of two Gaussians of one deviation, averaged (not summed) over the latent axes: `[N]`.

    std: a number or one value a row, in the units of the mean. Flow-GRPO (arXiv 2505.05470) leaves the step's √(-dt)
    out of it, TempFlow-GRPO puts it in.
    """
    square_N = mean_square(mean_ND, mean_ref_ND)
    return square_N / (2 * torch.as_tensor(std, dtype=mean_ND.dtype).square())


def mean_square(a_ND: Tensor, b_ND: Tensor) -> Tensor:
    """The squared distance of two predictions, averaged over all axes but the first: `[N]`."""
    _same_shape(a_ND, b_ND)
    return (a_ND - b_ND).square().flatten(1).mean(1)


def _same_shape(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"Both sides of a divergence must have one shape, not {list(a.shape)} and {list(b.shape)}.")
