"""An adapter laid into the weights it adapts, for as long as nothing trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def merged(module: nn.Module) -> Iterator[None]:
    """Inside, a forward pass of an adapted module costs no more than its base's, and gives the same up to rounding.

    Nothing happens where that rounding would count (weights not in float32) or where there is no plain LoRA. They are
    exchanged and put back, never added to and subtracted from, so they come out as they were. No gradient inside.
    """
    disable = getattr(module, "disable_adapter", None)
    layers: list[Any] = [
        part for part in module.modules() if hasattr(part, "get_delta_weight") and hasattr(part, "base_layer")
    ]
    weights = [layer.base_layer.weight for layer in layers]
    rounds = any(weight.dtype != torch.float32 for weight in weights)
    if disable is None or not layers or rounds or any(getattr(layer, "lora_variant", None) for layer in layers):
        yield
        return
    own = [weight.data for weight in weights]
    with torch.no_grad():
        for layer, weight in zip(layers, weights):
            weight.data = sum((layer.get_delta_weight(name) for name in layer.active_adapters), weight.data)
        try:
            with disable():
                yield
        finally:
            for weight, data in zip(weights, own):
                weight.data = data
