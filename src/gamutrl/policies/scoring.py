"""Scoring: hidden states to log-probabilities, in chunks, so that `[tokens, vocabulary]` never stands in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
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
    owned = isinstance(head, nn.Linear)

    def chunk(hidden: Tensor, token: Tensor, temperature: Tensor) -> Tensor:
        return _LogProb.apply(head(hidden), token, shared or temperature[:, None], banned, owned)

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
    """log-softmax of one column, `[A, V]` to `[A]`. On a CPU the passes over the logits go block by block, in cache.

    owned: whether the logits may be overwritten (a linear head keeps its output nowhere else).
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, token: Tensor, temperature: Tensor | float, banned: Tensor, owned: bool
    ) -> Tensor:
        scores = logits.float()
        if scores is logits and not owned:
            scores = scores.clone()
        whole = scores.new_empty(len(scores))
        for rows in _blocks(scores):
            part = scores[rows]
            if isinstance(temperature, Tensor):
                part.div_(temperature[rows])
            elif temperature != 1.0:
                part.div_(temperature)
            if len(banned):
                part.index_fill_(1, banned, torch.finfo(torch.float32).min)
            whole[rows] = part.logsumexp(1)
        ctx.save_for_backward(scores, whole, token)
        ctx.temperature, ctx.dtype = temperature, logits.dtype
        return scores.gather(1, token[:, None])[:, 0] - whole

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        scores, whole, token = ctx.saved_tensors
        grad = grads[0][:, None] / ctx.temperature
        into = torch.empty_like(scores)
        for rows in _blocks(scores):
            torch.sub(scores[rows], whole[rows, None], out=into[rows]).exp_().mul_(-grad[rows])
        into.scatter_add_(1, token[:, None], grad)
        return into.to(ctx.dtype), None, None, None, None


def _blocks(scores: Tensor) -> Iterator[slice]:
    size = len(scores) if scores.is_cuda else max(1, 2**18 // scores.shape[1])
    return (slice(begin, begin + size) for begin in range(0, len(scores), max(1, size)))


def _again(function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Call a chunk so that its logits are made again in the backward pass instead of kept."""
    if torch.is_grad_enabled():
        return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
    return function(*arguments)
