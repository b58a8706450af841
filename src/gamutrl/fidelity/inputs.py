"""How a recorded input reaches a binding: by the annotation of the parameter that it is named after."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_type_hints

import torch
from torch import Tensor

F32 = Annotated[Tensor, torch.float32]
F64 = Annotated[Tensor, torch.float64]
I64 = Annotated[Tensor, torch.int64]
Mask = Annotated[Tensor, torch.bool]
Labels = Annotated[Tensor, "labels"]
"""Any labels (strings, numbers), numbered in the order of their first appearance, int64."""
Leaf = Annotated[Tensor, torch.float32, "requires_grad"]
"""A float32 tensor that a gradient is asked for."""
Leaf64 = Annotated[Tensor, torch.float64, "requires_grad"]

_NAMED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def number(value: Any) -> Any:
    """The float that "nan", "inf" and "-inf" stand for (NaN for null); lists element by element."""
    if isinstance(value, list):
        return [number(item) for item in value]
    return math.nan if value is None else _NAMED.get(value, value) if isinstance(value, str) else value


def tensor(value: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """Nested lists to a tensor, named values and null included."""
    return torch.tensor(number(value), dtype=dtype)


def arguments(binding: Callable[..., Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a case as the binding's annotations ask for them; null stays None."""
    hints = get_type_hints(binding, include_extras=True) if inspect.isfunction(binding) else {}
    return {name: _as(hints.get(name), value) for name, value in inputs.items()}


def gradient(loss: Tensor, leaf: Tensor) -> Tensor:
    """d loss / d leaf, zero where the loss does not depend on it."""
    if not loss.requires_grad:
        return torch.zeros_like(leaf)
    (grad,) = torch.autograd.grad(loss, leaf, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if grad is None else grad


def _as(hint: Any, value: Any) -> Any:
    hint = next((part for part in get_args(hint) if hasattr(part, "__metadata__")), hint)
    metadata = getattr(hint, "__metadata__", ())
    if value is None:
        return None
    if metadata and isinstance(metadata[0], torch.dtype):
        return tensor(value, metadata[0]).requires_grad_("requires_grad" in metadata)
    if metadata and metadata[0] == "labels":
        first = {label: index for index, label in enumerate(dict.fromkeys(value))}
        return torch.tensor([first[label] for label in value])
    return number(value) if hint is float else value
