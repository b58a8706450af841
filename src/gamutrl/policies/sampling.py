"""Drawing one token: truncation, and one uniform number a token, so that a rollout's draws are its own."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from gamutrl.core import Sampling


def draws(seed: int, name: str, rollout: int, turn: int, count: int) -> Tensor:
    """`count` uniform numbers in [0, 1), float64: a function of what they are for, not of who else samples."""
    mixed = hashlib.blake2b(f"{seed}/{name}/{rollout}/{turn}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(mixed, "little") >> 1)
    return torch.rand(count, generator=generator, dtype=torch.float64)


def choose(logits_NV: Tensor, uniform_N: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """One token a row by inverse transform, and its log-probability before truncation.

    logits_NV: as `scored` makes them (temperature and ban applied). Returns `token_N` int64, `logp_N` float32, which is
    NaN where the logits are.
    """
    prob_NV = logits_NV.softmax(1)
    if sampling.temperature == 0:
        token_N = logits_NV.argmax(1)
    elif sampling.top_k or sampling.top_p < 1:
        count = min(sampling.top_k or logits_NV.shape[1], logits_NV.shape[1])
        values_NK, ids_NK = logits_NV.topk(count) if sampling.top_k else logits_NV.sort(descending=True)
        prob_NK = values_NK.softmax(1)
        before_NK = prob_NK.cumsum(1) - prob_NK
        prob_NK = prob_NK.masked_fill(before_NK >= sampling.top_p, 0.0)
        token_N = ids_NK.gather(1, _inverse(prob_NK, uniform_N)[:, None])[:, 0]
    else:
        token_N = _inverse(prob_NV, uniform_N)
    return token_N, prob_NV.gather(1, token_N[:, None])[:, 0].log()


def _inverse(weight_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """The first index whose cumulated weight exceeds the draw: never one of weight 0. The last, where they are NaN."""
    cumulated_NV = weight_NV.cumsum(1, dtype=torch.float64)
    level_N = uniform_N * cumulated_NV[:, -1] * (1 - 2**-40)
    return torch.searchsorted(cumulated_NV, level_N[:, None], right=True)[:, 0].clamp_(max=weight_NV.shape[1] - 1)
