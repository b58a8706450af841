"""What the small policies of the tests share: a module of logits, its named references, its state."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn


class StandIn:
    """A policy but for acting and scoring. module: what trains. acting: the module, or inside a reference its copy."""

    exact = True

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.acting = module
        self.copies: dict[str, nn.Module] = {}

    @contextmanager
    def reference(self, name: str) -> Iterator[None]:
        self.acting = self.copies[name]
        try:
            yield
        finally:
            self.acting = self.module

    def keep_reference(self, name: str) -> None:
        self.copies[name] = copy.deepcopy(self.module).requires_grad_(False)

    def update_reference(self, name: str, decay: float = 0.0) -> None:
        with torch.no_grad():
            for kept, now in zip(self.copies[name].parameters(), self.module.parameters()):
                kept.mul_(decay).add_(now, alpha=1 - decay)

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.module.parameters()

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "copies": {k: v.state_dict() for k, v in self.copies.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        for name, weights in state["copies"].items():
            self.keep_reference(name)
            self.copies[name].load_state_dict(weights)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.module.state_dict(), folder / "model.safetensors")
