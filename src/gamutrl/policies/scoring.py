"""Scoring: hidden states to log-probabilities, in chunks, so that `[tokens, vocabulary]` never stands in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gamutrl.policies.base import Statistic

CHUNK = 2**24
"""How many float32 logits may stand in memory at once (64 MiB)."""


def scored(logits: Tensor, temperature: Tensor | float, banned: Tensor) -> Tensor:
    """Logits as sampling and scoring see them: float32, over temperature, banned tokens out of the vocabulary."""
    logits = logits.float()
    if not (isinstance(temperature, float) and temperature == 1.0):
        logits = logits / temperature
    return logits.index_fill(-1, banned, torch.finfo(torch.float32).min) if len(banned) else logits


def log_probs(
    hidden_AD: Tensor,
    token_A: Tensor,
    temperature_A: Tensor,
    head: Callable[[Tensor], Tensor],
    banned: Tensor,
    vocabulary: int,
) -> Tensor:
    """log-softmax(logits / temperature) of each action's token, `[A]`, float32."""

    # One temperature for all, which is the rule, costs a comparison and saves a copy of the logits.
    one = len(temperature_A) > 0 and bool((temperature_A == temperature_A[0]).all())
    shared = float(temperature_A[0]) if one else None

    def chunk(hidden: Tensor, token: Tensor, temperature: Tensor) -> Tensor:
        return _LogProb.apply(head(hidden), token, shared or temperature[:, None], banned)

    size = max(1, CHUNK // vocabulary)
    if len(token_A) <= size:
        return chunk(hidden_AD, token_A, temperature_A)
    pieces = zip(hidden_AD.split(size), token_A.split(size), temperature_A.split(size))
    return torch.cat([_again(chunk, *piece) for piece in pieces])


def statistics(
    hidden_NTD: Tensor,
    mask_NT: Tensor,
    temperature_NT: Tensor,
    groups: Sequence[Tensor],
    functions: Mapping[str, Statistic],
    head: Callable[[Tensor], Tensor],
    banned: Tensor,
    vocabulary: int,
) -> dict[str, Tensor]:
    """Full-vocabulary statistics `[N, T]`: each function sees all rows of a group at a chunk of action indices."""
    names = list(functions)
    out = {name: hidden_NTD.new_zeros(mask_NT.shape, dtype=torch.float32) for name in names}

    def chunk(hidden: Tensor, mask: Tensor, temperature: Tensor) -> Tensor:
        logits = scored(head(hidden), temperature[..., None], banned)
        return torch.stack([torch.where(mask, functions[name](logits, mask), 0.0) for name in names])

    for rows in groups:
        width = int(mask_NT[rows].any(0).nonzero().max()) + 1 if bool(mask_NT[rows].any()) else 0
        size = max(1, CHUNK // (vocabulary * len(rows)))
        pieces = []
        for begin in range(0, width, size):
            end = min(begin + size, width)
            arguments = (hidden_NTD[rows, begin:end], mask_NT[rows, begin:end], temperature_NT[rows, begin:end])
            pieces.append(_again(chunk, *arguments))
        if pieces:
            values = torch.nn.functional.pad(torch.cat(pieces, dim=2), (0, mask_NT.shape[1] - width))
            for name, value in zip(names, values):
                out[name] = out[name].index_copy(0, rows, value)
    return out


def entropy(logits_GcV: Tensor, mask_Gc: Tensor) -> Tensor:
    """The entropy of each action's distribution, nats: the first of the full-vocabulary statistics."""
    logp = logits_GcV.log_softmax(-1)
    return -(logp.exp() * logp.clamp(min=-1e4)).sum(-1)


class _LogProb(torch.autograd.Function):
    """log-softmax of one column, `[A, V]` to `[A]`, with its gradient written in one pass over the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, token: Tensor, temperature: Tensor | float, banned: Tensor) -> Tensor:
        scores = scored(logits, temperature, banned)
        whole = scores.logsumexp(1)
        ctx.save_for_backward(scores, whole, token)
        ctx.temperature, ctx.dtype = temperature, logits.dtype
        return scores.gather(1, token[:, None])[:, 0] - whole

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        scores, whole, token = ctx.saved_tensors
        (grad,) = grads
        into = (scores - whole[:, None]).exp_().mul_(-grad[:, None])
        into.scatter_add_(1, token[:, None], grad[:, None])
        if not (isinstance(ctx.temperature, float) and ctx.temperature == 1.0):
            into.div_(ctx.temperature)
        return into.to(ctx.dtype), None, None, None


def _again(function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Call a chunk so that its logits are made again in the backward pass instead of kept."""
    if torch.is_grad_enabled():
        return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
    return function(*arguments)
