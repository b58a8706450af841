"""Losses on a denoiser's predictions at a noise level: likelihoods by matching error, and what is learned from them.

Flow convention as in `sampling`: x_t = (1 - t) x₀ + t noise, velocity v = noise - x₀. Errors are means over the latent.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

from gamutrl.functional.divergences import mean_square
from gamutrl.functional.sampling import Level, like


def corrupt(clean: Tensor, noise: Tensor, t: Level) -> Tensor:
    """x_t = (1 - t) x₀ + t noise; t is a number or one value a row."""
    t = like(t, clean)
    return (1 - t) * clean + t * noise


def optimality(
    advantage_N: Tensor, limit: float, keep: Literal["all", "positive", "negative", "one", "binary"] = "all"
) -> Tensor:
    """Advantages to [0, 1], ½ for 0: how much a sample counts as good (DiffusionNFT, arXiv 2509.16117).

    keep: all; only those of one sign (others count ½); "one": 1 for positive ones, 0 for others; "binary": the sign.
    """
    match keep:
        case "positive":
            advantage_N = advantage_N.clamp(min=0)
        case "negative":
            advantage_N = advantage_N.clamp(max=0)
        case "one":
            advantage_N = (advantage_N > 0).to(advantage_N)
        case "binary":
            advantage_N = advantage_N.sign()
    return (advantage_N.clamp(-limit, limit) / limit / 2 + 0.5).clamp(0, 1)


class Contrast(NamedTuple):
    """The errors of the implicit good and bad policy, `[N]`, and their mix by how good each sample was, `[N]`."""

    positive: Tensor
    negative: Tensor
    loss: Tensor


def negative_aware(
    predicted: Tensor,
    predicted_old: Tensor,
    noised: Tensor,
    clean: Tensor,
    t: Level,
    good_N: Tensor,
    beta: float = 1.0,
    *,
    least_weight: float | None = 1e-5,
) -> Contrast:
    """r · error⁺ / β + (1 - r) · error⁻ / β (DiffusionNFT, arXiv 2509.16117).

    The good policy's velocity is (1 - β) v_old + β v, the bad one's (1 + β) v_old - β v; their errors are those of the
    clean latent they imply. least_weight: each error is divided by its own mean absolute value, at least this, without
    gradient; None: by nothing.
    """
    old = predicted_old.detach()
    t = like(t, clean)

    def error(velocity: Tensor) -> Tensor:
        miss = noised - t * velocity - clean
        square = miss.square().flatten(1).mean(1)
        if least_weight is None:
            return square
        return square / miss.detach().abs().flatten(1).mean(1).clamp(min=least_weight)

    positive = error(beta * predicted + (1 - beta) * old)
    negative = error((1 + beta) * old - beta * predicted)
    return Contrast(positive, negative, (good_N * positive + (1 - good_N) * negative) / beta)


def matching_logp(
    predicted: Tensor,
    clean: Tensor,
    noise: Tensor,
    t: Tensor,
    weighting: Literal["uniform", "t", "t2", "huber", "power"] = "uniform",
    power: float = 0.25,
) -> Tensor:
    """Minus the weighted matching error: a likelihood up to a constant, `[N]` (AWM, arXiv 2509.25050).

    "huber" and "power" weigh by t and take the root or another power of the error.
    """
    error = mean_square(predicted, noise - clean)
    match weighting:
        case "uniform":
            return -error
        case "t":
            return -error * t
        case "t2":
            return -error * t.square()
        case "huber":
            return -((error + 1e-10).sqrt() - 1e-5) * t
        case "power":
            return -((error + 1e-10) ** power - 1e-10**power) * t / power


def denoising_score(predicted: Tensor, target: Tensor, beta: float) -> Tensor:
    """-½ β · error, `[N]`: what stands for β · log-likelihood in Diffusion-DPO (arXiv 2311.12908, equation 14)."""
    return -0.5 * beta * mean_square(predicted, target)


def guide(
    conditional: Tensor, unconditional: Tensor, weight: float, form: Literal["standard", "divided"] = "standard"
) -> Tensor:
    """Classifier-free guidance of predictions or logits.

    standard: u + w (c - u). divided: c - ((w - 1) / w) u, standard over w (FocusDiff's training logits).
    """
    if form == "divided":
        return conditional - (weight - 1) / weight * unconditional
    return unconditional + weight * (conditional - unconditional)


def aligned_levels(steps: int, place: int, share: float, *, inverse: bool = False) -> tuple[int, int]:
    """Between which levels of a grid of so many, noise first, Direct-Align's one step goes (arXiv 2509.06942).

    It begins in a picture mixed with known noise and denoises to level `place`, counted from the clean end; `inverse`
    adds noise from further down. share: how much of the way is left to the known noise.
    """
    known = min(steps - place, int((1 - share) * steps) + 1, place)
    if inverse:
        place = max(place - known, 1)
    low, high = steps - place, steps - min(place + known, steps)
    return (low, high) if inverse else (high, low)


def aligned(clean: Tensor, noise: Tensor, sigma: Tensor, sigma_next: Tensor, velocity: Tensor) -> Tensor:
    """A picture mixed with known noise, taken one predicted step on, and recovered (Direct-Align, arXiv 2509.06942)."""
    mixed = sigma * noise + (1 - sigma) * clean
    return clean_from_known(mixed + (sigma_next - sigma) * velocity, noise, sigma_next)


def clean_from_known(noised: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(x - σ · noise) / (1 - σ): the picture in a mixture whose noise is known (Direct-Align, arXiv 2509.06942)."""
    return (noised - sigma * noise) / (1 - sigma)
