"""Parts of diffusers' transformers that a CPU computes faster in another way, with the same results up to rounding."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def slow_parts(module: nn.Module) -> list[Any]:
    """The parts as diffusers has them that `faster` stands in for: projections with GELU by tanh, frozen norms."""
    if "diffusers" not in sys.modules:
        return []
    from diffusers.models.activations import GELU
    from diffusers.models.normalization import RMSNorm

    gelus = [part for part in module.modules() if type(part) is GELU and part.approximate == "tanh"]
    norms = [part for part in module.modules() if type(part) is RMSNorm and part.bias is None]
    return [*gelus, *(norm for norm in norms if norm.weight is not None and not norm.weight.requires_grad)]


def faster(part: Any, inside: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """What stands in for a slow part; inside: what stands in for a part of it."""
    return Gelu(inside(part.proj)) if hasattr(part, "proj") else RMSNorm(part)


class Gelu(nn.Module):
    """A projection and the GELU by tanh, as `x σ(2u)`: the logistic function takes a CPU a third of tanh's time."""

    def __init__(self, proj: nn.Module) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        return _ByLogistic.apply(x) if torch.is_grad_enabled() else _logistic(x)[1].mul_(x)


class _ByLogistic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _logistic(x)[1].mul_(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope, share = _logistic(x)
        steepness = torch.addcmul(share, share, share, value=-1).mul_(x)
        return steepness.mul_(slope.mul_(3).sub_(2 * LINEAR)).add_(share).mul_(grad)


LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * LINEAR
"""GELU by tanh is `x σ(2u)` with 2u = LINEAR x + CUBIC x³."""


def _logistic(x: Tensor) -> tuple[Tensor, Tensor]:
    """2u / x and σ(2u)."""
    slope = torch.addcmul(x.new_tensor(LINEAR), x, x, value=CUBIC)
    return slope, (slope * x).sigmoid_()


class RMSNorm(nn.Module):
    """diffusers' norm as one call: threads wait for each other between calls."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
