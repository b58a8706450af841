"""From logits to what a loss needs of them: one log-probability an action, and the entropy.

Written for chunks: hand in the logits of some rows or positions at a time, and nothing `[tokens, vocabulary]` outlives
the call.
"""

from __future__ import annotations

import torch
from torch import Tensor


def selective_log_softmax(logits_TV: Tensor, index_T: Tensor, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) of the chosen column, the shape of `index_T` (any leading axes)."""
    if logits_TV.shape[:-1] != index_T.shape:
        raise ValueError(f"Logits {list(logits_TV.shape)} need one index a position, not {list(index_T.shape)}.")
    scaled = logits_TV if temperature == 1 else logits_TV / temperature
    chosen = scaled.gather(-1, index_T[..., None])[..., 0]
    return chosen - scaled.logsumexp(-1)


def entropy(logits_TV: Tensor) -> Tensor:
    """Shannon entropy of softmax(logits), in nats, over the last axis."""
    logp_TV = logits_TV.log_softmax(-1)
    return -torch.where(logp_TV.isneginf(), 0.0, logp_TV.exp() * logp_TV).sum(-1)


def mask_until(token_NT: Tensor, end: int | list[int]) -> Tensor:
    """True up to and including the first end token of each row, bool; all True where there is none."""
    ends = torch.isin(token_NT, torch.as_tensor(end, device=token_NT.device))
    return (ends.long().cumsum(1) - ends.long()) == 0


def disagreement(logp_NTV: Tensor, mask_NT: Tensor, group_N: Tensor, bound: float = 11.0) -> Tensor:
    """How much a group's rollouts disagree at each position, 0 to 1, `[N, T]` (TW-GRPO, arXiv 2505.24718).

    The divergence k3 of each rollout's distribution from the group's mean log-probability, summed over the vocabulary
    and averaged over the group, then stretched to [0, 1] over its positions. Where a rollout has ended it counts as
    uniform. bound: on the log-ratio.
    """
    uniform = -torch.log(torch.tensor(float(logp_NTV.shape[-1])))
    logp_NTV = torch.where(mask_NT.bool()[..., None], logp_NTV, uniform)
    score_NT = torch.zeros(mask_NT.shape, dtype=logp_NTV.dtype, device=logp_NTV.device)
    for group in group_N.unique():
        members = group_N == group
        d = (logp_NTV[members].mean(0) - logp_NTV[members]).clamp(-bound, bound)
        score_T = (d.exp() - d - 1).sum(-1).mean(0)
        low, high = score_T.min(), score_T.max()
        score_NT[members] = (score_T - low) / (high - low).clamp(min=torch.finfo(score_T.dtype).tiny)
    return score_NT
