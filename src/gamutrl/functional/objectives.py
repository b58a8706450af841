"""Policy objectives: log-ratios or log-probabilities, and advantages, to loss terms.

Every function returns terms to minimise, one an action (`[N, T]`) or one a row (`[N, 1]`); what an action counts is
`weights.action_weights`, apart. Advantages are `[N, T]`, or `[N, 1]` where a row has one. Terms of actions that are not
the policy's get weight 0 there, so that nothing here looks at the mask unless it asks for it.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gamutrl.functional.weights import masked_mean


def clipped_surrogate(
    log_ratio_NT: Tensor, advantage_NT: Tensor, low: float = 0.2, high: float | None = None, *, cap: float | None = None
) -> Tensor:
    """max(-A · ratio, -A · clip(ratio, 1 - low, 1 + high)) (PPO, arXiv 1707.06347, equation 7).

    high: low where None; larger lets rare actions rise (DAPO, arXiv 2503.14476). cap: the unclipped ratio is at most
    this, which bounds the loss where the advantage is negative: dual clip (arXiv 1912.09729), TRL's `delta`.
    """
    high = low if high is None else high
    ratio = log_ratio_NT.exp()
    clipped = ratio.clamp(1 - low, 1 + high)
    if cap is not None:
        ratio = ratio.clamp(max=cap)
    return torch.maximum(-advantage_NT * ratio, -advantage_NT * clipped)


def unclipped_surrogate(log_ratio_NT: Tensor, advantage_NT: Tensor) -> Tensor:
    """-A · ratio, what the clip bounds."""
    return -advantage_NT * log_ratio_NT.exp()


class Clipped(NamedTuple):
    """Where `clipped_surrogate` holds an action, bool `[N, T]`: as it falls, as it rises, and at the cap."""

    low: Tensor
    high: Tensor
    cap: Tensor


def clipped_actions(
    log_ratio_NT: Tensor,
    advantage_NT: Tensor,
    low: float = 0.2,
    high: float | None = None,
    *,
    cap: float = math.inf,
) -> Clipped:
    """Which actions a clip holds and on which side; their masked means are the shares that a run's log shows."""
    ratio = log_ratio_NT.detach().exp()
    falling, rising = advantage_NT < 0, advantage_NT > 0
    capped = (ratio.clamp(min=1 - low) > cap) & falling
    return Clipped((ratio < 1 - low) & falling, (ratio > 1 + (low if high is None else high)) & rising, capped)


def clamped_surrogate(log_ratio_NT: Tensor, advantage_NT: Tensor, clip: float) -> Tensor:
    """-A · clip(ratio): no gradient outside the range, whatever the advantage's sign (DPOK, arXiv 2305.16381)."""
    return -advantage_NT * log_ratio_NT.exp().clamp(1 - clip, 1 + clip)


def policy_gradient(logp_NT: Tensor, advantage_NT: Tensor, weight_NT: Tensor | None = None) -> Tensor:
    """-w · A · log π, with no gradient through w: REINFORCE, GPG (arXiv 2504.02546), and with the weights below more.

    CISPO (arXiv 2506.13585): `truncated_ratio`. DPPO (arXiv 2602.04879): the same with `upper`, times `trust_region`.
    VESPO (arXiv 2602.10693): `sequence_reshaping`.
    """
    terms_NT = -advantage_NT * logp_NT
    return terms_NT if weight_NT is None else weight_NT.detach() * terms_NT


def truncated_ratio(log_ratio: Tensor, lower: float | None = None, upper: float | None = None) -> Tensor:
    """The ratio kept within bounds, without gradient: a truncated importance weight."""
    return log_ratio.detach().exp().clamp(lower, upper)


def trust_region(
    logp_NT: Tensor,
    logp_old_NT: Tensor,
    advantage_NT: Tensor,
    low: float,
    high: float,
    divergence: Literal["tv", "kl"] = "tv",
) -> Tensor:
    """Which actions may still move where their advantage pushes them, bool `[N, T]` (DPPO, arXiv 2602.04879).

    The divergence is that of the sampled action against all others: total variation |p - p_old|, or the binary KL.
    An action is held once it has moved beyond `high` upwards under a positive advantage, `low` downwards under another.
    """
    p, p_old = logp_NT.detach().exp(), logp_old_NT.detach().exp()
    if divergence == "tv":
        moved = (p - p_old).abs()
    else:
        other, other_old = 1 - p + 1e-8, 1 - p_old + 1e-8
        moved = p_old * (logp_old_NT - logp_NT).detach() + (1 - p_old) * (other_old / other).log()
    rising_kept = (moved <= high) | (p <= p_old)
    falling_kept = (moved <= low) | (p >= p_old)
    return torch.where(advantage_NT > 0, rising_kept, falling_kept)


def sequence_reshaping(
    log_ratio_NT: Tensor,
    mask_NT: Tensor,
    advantage_N1: Tensor,
    positive: tuple[float, float] = (1.0, 1.0),
    negative: tuple[float, float] = (2.0, 1.0),
) -> Tensor:
    """exp(λ + k log w - λ w) of a sequence's importance weight w, `[N, 1]`, no gradient (VESPO, arXiv 2602.10693).

    positive, negative: (k, λ) by the advantage's sign. log w is kept within ln 1e-8 and 20.
    """
    bounded_NT = log_ratio_NT.detach().clamp(-20, 20)
    log_w = torch.where(mask_NT.bool(), bounded_NT, 0.0).sum(1, keepdim=True).clamp(-18.420680743952367, 20)
    k, rate = (
        torch.where(advantage_N1 >= 0, up, down).to(log_w)
        for up, down in zip(torch.tensor(positive), torch.tensor(negative))
    )
    rate = rate.clamp(min=1e-4)
    return (rate + k * log_w - rate * log_w.exp()).exp().nan_to_num(0.0, posinf=0.0, neginf=0.0)


def soft_gate(
    log_ratio_NT: Tensor,
    advantage_NT: Tensor,
    rising: float = 1.0,
    falling: float = 1.05,
    *,
    zero_rises: bool = False,
) -> Tensor:
    """-A · (4 / τ) sigmoid(τ (ratio - 1)), a smooth clip (SAPO, arXiv 2511.20347).

    rising, falling: τ for positive and other advantages; zero_rises: 0 counts as positive (EasyR1).
    """
    up = advantage_NT >= 0 if zero_rises else advantage_NT > 0
    tau = torch.where(up, rising, falling).to(log_ratio_NT)
    return -advantage_NT * torch.sigmoid(tau * (log_ratio_NT.exp() - 1)) * 4 / tau


def geometric_mean_surrogate(
    log_ratio_NT: Tensor,
    advantage_NT: Tensor,
    mask_NT: Tensor,
    low: float = 0.4,
    high: float | None = None,
    *,
    eps: float = 0.0,
) -> Tensor:
    """-A · exp(mean of clipped log-ratios), one term a row `[N, 1]` (GMPO, arXiv 2507.20673).

    advantage_NT: `[N, 1]`, or one an action, whose mean over the row then counts. low, high: bounds of the log-ratio,
    on the side to which the action's advantage pushes. eps: added to a row's number of actions.
    """
    clipped = log_ratio_NT.clamp(-low, low if high is None else high)
    side = advantage_NT.sign()
    kept_NT = side * torch.minimum(side * log_ratio_NT, side * clipped)
    if advantage_NT.shape[1] > 1:
        advantage_NT = masked_mean(advantage_NT, mask_NT, dim=1, eps=eps)[:, None]
    return -advantage_NT * masked_mean(kept_NT, mask_NT, dim=1, eps=eps)[:, None].exp()


def quadratic_surrogate(
    log_ratio_NT: Tensor, advantage_NT: Tensor, epsilon: float, weight_NT: Tensor | float = 1.0
) -> Tensor:
    """-A · ratio plus `quadratic_penalty`, in place of the clip (DRPO, as in UniRL)."""
    penalty = quadratic_penalty(log_ratio_NT, advantage_NT, epsilon, weight_NT)
    return unclipped_surrogate(log_ratio_NT, advantage_NT) + penalty


def quadratic_penalty(
    log_ratio_NT: Tensor, advantage_NT: Tensor, epsilon: float, weight_NT: Tensor | float = 1.0
) -> Tensor:
    """|A| · w · (ratio - 1)² / (2 ε)."""
    return advantage_NT.abs() * weight_NT * (log_ratio_NT.exp() - 1).square() / (2 * epsilon)


def outward(log_ratio: Tensor, advantage: Tensor) -> Tensor:
    """Whether an action has already moved the way its advantage pushes it, bool."""
    return ((log_ratio > 0) & (advantage > 0)) | ((log_ratio < 0) & (advantage < 0))


def direct_reward(logp_NT: Tensor, log_ratio_NT: Tensor, advantage_NT: Tensor, beta: float = 0.1) -> Tensor:
    """-(A · log π - β/2 · log-ratio²) (DRO, arXiv 2405.19107)."""
    return -(logp_NT * advantage_NT - 0.5 * beta * log_ratio_NT.square())


def covariance(logp_NT: Tensor, advantage_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """(A - mean A) · (log π - mean log π), whose sum drives the entropy's fall (arXiv 2505.22617), no gradient."""
    advantage_NT = advantage_NT.expand_as(logp_NT)
    centred = advantage_NT - masked_mean(advantage_NT, mask_NT)
    return (centred * (logp_NT - masked_mean(logp_NT, mask_NT))).detach()


def drawn_by_covariance(
    covariance_NT: Tensor,
    candidate_NT: Tensor,
    share: float,
    bounds: tuple[float, float],
    total: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Actions to leave out of the loss, bool `[N, T]` (Clip-Cov, arXiv 2505.22617).

    Among the candidates whose covariance is within the bounds, share · total (at least one) are drawn.
    """
    within = candidate_NT.bool() & (covariance_NT > bounds[0]) & (covariance_NT < bounds[1])
    index = within.flatten().nonzero().flatten()
    picked = index[torch.randperm(len(index), generator=generator)[: max(1, int(share * total))].to(index.device)]
    return torch.zeros_like(within).flatten().index_fill(0, picked, True).view_as(within)


def largest_covariance(covariance_NT: Tensor, mask_NT: Tensor, share: float) -> Tensor:
    """The share of actions (at least one) with the largest covariance, bool `[N, T]` (KL-Cov, arXiv 2505.22617)."""
    mask = mask_NT.bool()
    count = min(max(1, int(share * int(mask.sum()))), int(mask.sum()))
    picked = covariance_NT.masked_fill(~mask, -torch.inf).flatten().topk(count).indices
    return torch.zeros_like(mask).flatten().index_fill(0, picked, True).view_as(mask)


def high_entropy(entropy_NT: Tensor, mask_NT: Tensor, quantile: float) -> Tensor:
    """The policy's actions whose entropy is at or above the quantile, bool (arXiv 2506.01939: the top fifth is 0.8)."""
    mask_NT = mask_NT.bool()
    if not mask_NT.any():
        return torch.zeros_like(mask_NT)
    # The quantile in float32, as TRL's tensors hold it: 0.8 then falls just above the eighth of ten steps.
    q = torch.tensor(quantile, dtype=torch.float32).double()
    threshold = torch.quantile(entropy_NT[mask_NT].double(), q.to(entropy_NT.device))
    return mask_NT & (entropy_NT.double() >= threshold)


def regression(log_ratio_N: Tensor, advantage_N: Tensor) -> Tensor:
    """(log-ratio - advantage)²: regress the policy's move on what it was worth (Reg-GRPO, arXiv 2506.07464)."""
    return (log_ratio_N - advantage_N).square()


def clipped_value_loss(value_NT: Tensor, value_old_NT: Tensor, return_NT: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """½ max((v - R)², (clip(v) - R)²), v clipped to ±clip of the old value; and where the clip decides, bool."""
    near = torch.maximum(torch.minimum(value_NT, value_old_NT + clip), value_old_NT - clip)
    free, clipped = (value_NT - return_NT).square(), (near - return_NT).square()
    return torch.maximum(free, clipped) / 2, clipped > free
