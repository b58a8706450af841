"""Corrections for samples that another policy, or the same policy's faster copy, drew.

log_ratio is log π_train - log π_rollout throughout. A correction is a weight that multiplies the loss's terms, or a
mask that leaves actions or whole rows out.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gamutrl.functional.weights import masked_mean


def importance_weights(
    log_ratio_NT: Tensor,
    mask_NT: Tensor,
    level: Literal["token", "sequence"] = "token",
    *,
    lower: float | None = None,
    upper: float | None = None,
    outside: Literal["clamp", "zero"] = "clamp",
    bound: float | None = 20.0,
    normalize: bool = False,
) -> Tensor:
    """π_train / π_rollout of each action, or of the row it belongs to, `[N, T]`, 1 outside the mask, no gradient.

    lower, upper: ratios beyond them are set to them (truncated importance sampling) or to 0 (IcePop). bound: log-ratios
    are kept within ±bound. normalize: divide by their mean (of the rows' means at sequence level).
    """
    mask = mask_NT.bool()
    log = torch.where(mask, log_ratio_NT.detach(), 0.0)
    if level == "sequence":
        log = log.sum(1, keepdim=True).expand_as(log)
    weight_NT = (log if bound is None else log.clamp(-bound, bound)).exp()
    if outside == "clamp":
        if lower is not None or upper is not None:
            weight_NT = weight_NT.clamp(lower, upper)
    else:
        out = torch.zeros_like(mask)
        out = out if lower is None else out | (weight_NT < lower)
        out = out if upper is None else out | (weight_NT > upper)
        weight_NT = weight_NT.masked_fill(out, 0.0)
    if normalize:
        mean = masked_mean(weight_NT, mask) if level == "token" else weight_NT[mask.any(1)][:, :1].mean()
        weight_NT = weight_NT / mean if mean > 1e-8 else weight_NT
    return weight_NT


def rejection_mask(
    log_ratio_NT: Tensor,
    mask_NT: Tensor,
    statistic: Literal["k1", "k2", "k3"],
    over: Literal["token", "sum", "mean", "max"],
    lower: float | None,
    upper: float,
) -> Tensor:
    """Which actions may be trained on, bool `[N, T]`: those whose statistic (or whose row's) is within the bounds.

    statistic: of the log-ratio r (kept within ±20): k1 = -r, k2 = r²/2, k3 = exp(r) - 1 - r. over: each action's own,
    or the row's sum, mean or largest; a row is kept or left out as a whole.
    """
    r = log_ratio_NT.detach().clamp(-20, 20)
    value = {"k1": -r, "k2": r.square() / 2, "k3": r.exp() - 1 - r}[statistic]
    if over != "token":
        mask = mask_NT.bool()
        if over == "max":
            row = torch.where(mask, value, -torch.inf).amax(1)
            row = torch.where(mask.any(1), row, 0.0)
        else:
            row = torch.where(mask, value, 0.0).sum(1)
            row = row / (mask.sum(1) + 1e-8) if over == "mean" else row
        value = row[:, None].expand_as(log_ratio_NT)
    keep = value <= upper
    return mask_NT.bool() & (keep if lower is None else keep & (value >= lower))


def off_policy_rows(
    logp_NT: Tensor, logp_sampled_NT: Tensor, mask_NT: Tensor, advantage_N1: Tensor, threshold: float
) -> Tensor:
    """Rows to keep, bool `[N, 1]`: all but those with a negative advantage that the policy has moved far away from.

    Far: the mean of log π_sampled - log π over the row's actions is above the threshold (DeepSeek-V3.2, arXiv
    2512.02556).
    """
    moved_N1 = masked_mean((logp_sampled_NT - logp_NT).detach(), mask_NT, dim=1)[:, None]
    return (advantage_N1 >= 0) | (moved_N1 <= threshold)


def future_drift(log_ratio_NT: Tensor, mask_NT: Tensor, gamma: float, *, drop_above: float | None = None) -> Tensor:
    """Σ_{j ≥ t} γ^(j-t) · log-ratio_j over the row's actions, `[N, T]`, no gradient (FIPO: future-KL weighting).

    drop_above: actions whose ratio is above this count as unmoved.
    """
    log = torch.where(mask_NT.bool(), log_ratio_NT.detach(), 0.0)
    if drop_above is not None:
        log = log.masked_fill(log.exp() > drop_above, 0.0)
    running = torch.zeros_like(log[:, 0])
    drift_NT = torch.zeros_like(log)
    for t in reversed(range(log.shape[1])):
        running = log[:, t] + gamma * running
        drift_NT[:, t] = running
    return drift_NT


def teacher_reweighted(
    advantage_N1: Tensor,
    logp_NT: Tensor,
    logp_teacher_NT: Tensor,
    mix: float = 1.0,
    clip: float = 0.2,
    *,
    negative_only: bool = False,
) -> Tensor:
    """A · ((1 - mix) + mix · clip(w)), w = (π_teacher / π)^sign A, `[N, T]` (RLSD: credit from a teacher's likelihood).

    negative_only: rows with an advantage of 0 or more keep theirs.
    """
    w = (advantage_N1.sign() * (logp_teacher_NT - logp_NT)).exp().clamp(1 - clip, 1 + clip)
    reweighted = advantage_N1 * ((1 - mix) + mix * w)
    return torch.where(advantage_N1 >= 0, advantage_N1, reweighted) if negative_only else reweighted
