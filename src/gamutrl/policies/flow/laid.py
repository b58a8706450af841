"""An adapter laid into the weights it adapts, so that a pass costs no more than the base model's, forward and back."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gamutrl.policies.flow import quick
from gamutrl.policies.flow.denoiser import Denoiser


class Laid:
    """A denoiser and a copy of it that computes with the weights of now: the adapter in them, or, switched off, none.

    The copy shares all but the adapted matrices, gives the same predictions up to rounding, and is differentiable in
    the adapter. On a CPU, GELUs and norms of heads are the faster ones of `quick`. There is no copy where rounding
    would count (weights in half precision), or for adapters other than one plain LoRA on linear layers; then it is the
    denoiser itself.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.layers = _adapters(denoiser.module)
        self._slow = quick.slow_parts(denoiser.module) if self.layers and denoiser.device.type == "cpu" else []
        self._bare: Denoiser | None = None
        self._laid: tuple[tuple[int, ...], Denoiser] | None = None

    def now(self) -> Denoiser:
        """The denoiser to predict with; right until weights change or the adapter is switched."""
        if not self.layers:
            return self.denoiser
        if self.layers[0].disable_adapters:
            if self._bare is None:
                self._bare = self._copy({id(layer): layer.base_layer for layer in self.layers})
            return self._bare
        weights = [weight for layer in self.layers for weight in _pair(layer)]
        moment = tuple(number for weight in weights for number in (weight._version, weight.data_ptr()))
        if self._laid is None or self._laid[0] != moment:
            self._laid = moment, self._copy({id(layer): _Matrix(layer) for layer in self.layers})
        return self._laid[1]

    def _copy(self, parts: dict[int, nn.Module]) -> Denoiser:
        made = copy.copy(self.denoiser)
        base: Any = self.denoiser.module
        stand_ins = {id(part): quick.faster(part, lambda child: _with(child, parts)) for part in self._slow}
        made.module = _with(base.get_base_model(), parts | stand_ins)
        return made


class _Matrix(nn.Module):
    """A linear layer with its adapter in it: `x (W + s B A)ᵀ + b`."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        (name,) = layer.active_adapters
        self.scale = layer.scaling[name]
        # Not this module's own: they are the adapter's, and a copy that trains would train them.
        self.pair = _pair(layer)
        self.register_buffer("weight", layer.base_layer.weight.detach() + layer.get_delta_weight(name).detach())
        self.bias = layer.base_layer.bias
        self.weight: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return _Adapted.apply(x, self.weight, self.bias, *self.pair, self.scale)
        return F.linear(x, self.weight, self.bias)


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_ED: Tensor, bias_E: Tensor | None, a_RD: Tensor, b_ER: Tensor, scale: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight_ED, a_RD, b_ER)
        ctx.scale = scale
        return F.linear(x, weight_ED, bias_E)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_ED, a_RD, b_ER = ctx.saved_tensors
        grad_NE, x_ND = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        needs_x, _, _, needs_a, needs_b, _ = ctx.needs_input_grad
        grad_x = (grad_NE @ weight_ED).view(x.shape) if needs_x else None
        grad_a = (grad_NE @ (ctx.scale * b_ER)).t() @ x_ND if needs_a else None
        grad_b = ((x_ND @ (ctx.scale * a_RD).t()).t() @ grad_NE).t() if needs_b else None
        return grad_x, None, None, grad_a, grad_b, None


def _pair(layer: Any) -> tuple[Tensor, Tensor]:
    (name,) = layer.active_adapters
    return layer.lora_A[name].weight, layer.lora_B[name].weight


def _adapters(module: nn.Module) -> list[Any]:
    """The adapted layers, if all of them can be laid."""
    if not hasattr(module, "get_base_model"):
        return []
    from peft.tuners.lora import Linear
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [part for part in module.modules() if isinstance(part, BaseTunerLayer)]
    return layers if all(type(layer) is Linear and _is_plain(layer) for layer in layers) else []


def _is_plain(layer: Any) -> bool:
    base, names = layer.base_layer, layer.active_adapters
    weights = [base.weight, *(part.weight for name in names for part in (layer.lora_A[name], layer.lora_B[name]))]
    return (
        type(base) is nn.Linear
        and len(names) == 1
        and not layer.merged
        and not layer.lora_variant
        and not layer.fan_in_fan_out
        and isinstance(layer.lora_dropout[names[0]], nn.Identity)
        and layer.lora_B[names[0]].bias is None
        and not any(weight.requires_grad for weight in base.parameters())
        and all(weight.dtype in (torch.float32, torch.float64) for weight in weights)
    )


def _with(module: nn.Module, parts: dict[int, nn.Module]) -> nn.Module:
    """The module with other parts in places of its own (by their ids); what has none of those is shared."""
    if id(module) in parts:
        return parts[id(module)]
    children = {name: child and _with(child, parts) for name, child in module._modules.items()}
    if all(child is module._modules[name] for name, child in children.items()):
        return module
    made = copy.copy(module)
    made.__dict__["_modules"] = children
    return made
