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


def group_divergence(logp_GTV: Tensor, mask_GT: Tensor, bound: float = 11.0) -> Tensor:
    """How far the distributions of one group's rollouts lie apart at each position, at least 0, `[T]` (2505.24718).

    The divergence k3 of each rollout's distribution from the group's mean log-probability, summed over the vocabulary
    and averaged over the group. Where a rollout has ended it counts as uniform. bound: on the log-ratio.
    """
    uniform = -torch.log(torch.tensor(float(logp_GTV.shape[-1])))
    logp_GTV = torch.where(mask_GT.bool()[..., None], logp_GTV, uniform)
    d = (logp_GTV.mean(0) - logp_GTV).clamp(-bound, bound)
    return (d.exp() - d - 1).sum(-1).mean(0)


def stretched(score_NT: Tensor, mask_NT: Tensor, group_N: Tensor) -> Tensor:
    """A group's score at each position, stretched to [0, 1] over the positions at which one of its rows acts, `[N, T]`.

    Every row that acts at a position holds the group's score there, the others at most that. 0 where the score is the
    same everywhere.
    """
    stretched_NT = torch.zeros_like(score_NT)
    for group in group_N.unique():
        members = group_N == group
        score_T, acts_T = score_NT[members].amax(0), mask_NT[members].any(0)
        if acts_T.any():
            low, high = score_T[acts_T].min(), score_T[acts_T].max()
            share_T = (score_T - low) / (high - low).clamp(min=torch.finfo(score_T.dtype).tiny)
            stretched_NT[members] = torch.where(acts_T, share_T, 0.0)
    return stretched_NT


def bit_logp(logits_TB2: Tensor, bit_TB: Tensor) -> Tensor:
    """log-probability of each bit, the shape of `bit_TB`; logits hold the two classes of a bit side by side."""
    pairs = logits_TB2.reshape(*bit_TB.shape, 2)
    return pairs.log_softmax(-1).gather(-1, bit_TB[..., None])[..., 0]


def steered(base_V: Tensor, expert_V: Tensor | None, amateur_V: Tensor | None, alpha: float) -> Tensor:
    """base + alpha · (expert - amateur), over the vocabulary that all share (ProxyThinker, arXiv 2505.24872)."""
    if expert_V is None or amateur_V is None:
        return base_V
    width = min(base_V.shape[-1], expert_V.shape[-1], amateur_V.shape[-1])
    return base_V[..., :width] + alpha * (expert_V - amateur_V)[..., :width]


def truncated(logits_V: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits with -inf outside the top k and the nucleus of mass p; the token that crosses p stays, so do ties at k."""
    if top_k > 0:
        least = logits_V.topk(min(top_k, logits_V.shape[-1])).values[..., -1:]
        logits_V = logits_V.masked_fill(logits_V < least, -torch.inf)
    if top_p < 1:
        ordered, place = logits_V.sort(descending=True)
        mass = ordered.softmax(-1).cumsum(-1)
        beyond = (mass > top_p).roll(1, -1)
        beyond[..., 0] = False
        logits_V = logits_V.masked_fill(torch.zeros_like(beyond).scatter(-1, place, beyond), -torch.inf)
    return logits_V
