"""Parts of diffusers' transformers that a CPU computes faster in another way, with the same results up to rounding."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
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
        return _ByLogistic.apply(x) if torch.is_grad_enabled() else _gelu(x)


class _ByLogistic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _gelu(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (saved,) = ctx.saved_tensors
        out, linear = torch.empty_like(saved, memory_format=torch.contiguous_format), saved.new_tensor(LINEAR)
        room = saved.new_empty(2, min(PIECE, saved.numel()))
        for x, above, made in _pieces(saved, grad, out):
            slope, share = room[:, : len(x)]
            torch.mul(torch.addcmul(linear, x, x, value=CUBIC, out=slope), x, out=share).sigmoid_()
            steepness = torch.addcmul(share, share, share, value=-1, out=made).mul_(x)
            steepness.mul_(slope.mul_(3).sub_(2 * LINEAR)).add_(share).mul_(above)
        return out


LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * LINEAR
"""GELU by tanh is `x σ(2u)` with 2u = LINEAR x + CUBIC x³."""
PIECE = 2**16
"""How many numbers are taken at once: as many as stay in a core's cache from one operation to the next."""


def _gelu(whole: Tensor) -> Tensor:
    out, linear = torch.empty_like(whole, memory_format=torch.contiguous_format), whole.new_tensor(LINEAR)
    for x, made in _pieces(whole, out):
        torch.addcmul(linear, x, x, value=CUBIC, out=made).mul_(x).sigmoid_().mul_(x)
    return out


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of one shape, piece by piece; the last is written to."""
    return zip(*(tensor.reshape(-1).split(PIECE) for tensor in tensors))


class RMSNorm(nn.Module):
    """diffusers' norm as one call, forward and back: threads wait for each other between calls."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return _Normed.apply(x, self.weight, self.eps)
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        rate = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight_D, rate)
        return (x * rate).mul_(weight_D)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_D, rate = ctx.saved_tensors
        grad = grad * weight_D
        along = torch.linalg.vecdot(grad, x)[..., None] * rate.square().div_(-x.shape[-1])
        return grad.addcmul_(x, along).mul_(rate), None, None
