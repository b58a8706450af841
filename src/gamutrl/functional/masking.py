"""Masks of discrete diffusion: how much is masked when, and which tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mask_rate(progress: float, kind: str = "cosine", *, floor: float = 0.0) -> float:
    """The share of tokens still masked at a progress in [0, 1] (MaskGIT, arXiv 2202.04200, section 3.3).

    kind: "cosine", "linear", "pow<exponent>" or "sigmoid" (from -3 to 3).
    """
    if kind == "cosine":
        return max(math.cos(math.pi / 2 * progress), floor)
    if kind == "linear":
        return max(1e-6, min(1.0, 1 - progress))
    if kind.startswith("pow"):
        return max(1e-6, min(1.0, 1 - progress ** float(kind[3:])))
    if kind == "sigmoid":
        now, start, end = (1 / (1 + math.exp(-z)) for z in (6 * progress - 3, -3, 3))
        return max(1e-6, min(1.0, (end - now) / (end - start)))
    raise ValueError(f"A mask rate is cosine, linear, sigmoid or pow with an exponent, not {kind!r}.")


def tokens_left(steps: int, tokens: int) -> list[int]:
    """How many tokens are still masked after each decoding step, fewer each time and never none (MaskGIT).

    Floors are taken in float32, as the released decoders take them.
    """
    left, unknown = [], tokens
    for step in range(steps):
        rate = torch.cos(torch.tensor((step + 1) / steps) * math.pi * 0.5)
        unknown = max(1, min(unknown - 1, int((tokens * rate).floor())))
        left.append(unknown)
    return left


def random_mask(content_NT: Tensor, rate_N: Tensor, draw_NT: Tensor) -> Tensor:
    """Which positions of the content are masked: those whose uniform draw is below their row's rate, bool `[N, T]`."""
    return content_NT.bool() & (draw_NT < rate_N[:, None])
