"""Importance ratios: how much likelier the policy makes an action than the policy that took it.

Objectives take log-ratios; which ratio (each action's, its sequence's, a normalised one) is chosen here, apart from
what is done with it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gamutrl.functional.divergences import mean_square
from gamutrl.functional.weights import masked_mean

Level = Literal["token", "sequence", "sequence_token", "sequence_sum"]


def log_ratio(
    logp_NT: Tensor,
    logp_old_NT: Tensor | None,
    mask_NT: Tensor | None = None,
    level: Level = "token",
    *,
    bound: float | None = None,
    eps: float = 0.0,
) -> Tensor:
    """log π - log π_old: `[N, T]`, or `[N, 1]` for "sequence" and "sequence_sum".

    logp_old_NT: None for the first update on a batch (ratio 1, with a gradient). level "sequence": the mean over the
    row's actions (GSPO, arXiv 2507.18071, equation 7), "sequence_token": that value, with the gradient of each token
    (GSPO-token), "sequence_sum": the log-ratio of whole sequences (RLOO, arXiv 2402.14740). bound: log-
    ratios are kept within ±bound. eps: added to the number of actions of a row.
    """
    old = logp_NT.detach() if logp_old_NT is None else logp_old_NT
    if logp_NT.shape != old.shape:
        raise ValueError(f"New and old log-probabilities differ in shape: {list(logp_NT.shape)}, {list(old.shape)}.")
    ratio = logp_NT - old
    if level != "token":
        if mask_NT is None:
            raise ValueError(f"A ratio of level {level!r} needs the mask of the actions.")
        if level == "sequence_sum":
            ratio = torch.where(mask_NT.bool(), ratio, 0.0).sum(1, keepdim=True)
        else:
            mean_N1 = masked_mean(ratio, mask_NT, dim=1, eps=eps)[:, None]
            ratio = mean_N1 if level == "sequence" else mean_N1.detach() + logp_NT - logp_NT.detach()
    return ratio if bound is None else ratio.clamp(-bound, bound)


def normalized_log_ratio(
    log_ratio_N: Tensor, mean_ND: Tensor, mean_old_ND: Tensor, std: Tensor | float, *, shared_drift: bool = False
) -> Tensor:
    """A denoising step's log-ratio, centred and scaled to one spread at every step (GRPO-Guard, arXiv 2510.22319).

    (log-ratio + drift) · std with drift = mean over the latent of (mean - mean_old)² / (2 std²); std is the step's
    whole deviation. shared_drift: one drift for the batch, as the released code averages it, not one a sample.
    """
    drift_N = mean_square(mean_ND, mean_old_ND)
    drift = drift_N.mean() if shared_drift else drift_N
    return (log_ratio_N + drift / (2 * std**2)) * std


def clip_log_ratio(log_ratio: Tensor, clip: float) -> Tensor:
    """log clip(ratio, 1 - clip, 1 + clip): no gradient outside (D3PO, arXiv 2311.13231; SPO, arXiv 2406.04314)."""
    return log_ratio.exp().clamp(1 - clip, 1 + clip).log()
