"""The optimizer of a stage: AdamW with warm-up, a schedule and a gradient-norm limit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.autograd.graph import increment_version

from gamutrl.training import ranks


@dataclass(frozen=True)
class AdamW:
    """AdamW.

    `warmup` is a share of the stage's updates. `schedule` is the learning rate's course after it, down to
    `end_lr_share` of `lr`. `clip_norm` limits the global gradient norm (0: no limit).
    """

    lr: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    warmup: float = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    end_lr_share: float = 0.0

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"the learning rate must be positive, not {self.lr}.")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.AdamW:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if not trained:
            raise ValueError("Nothing to train: every parameter is frozen. Check `freeze` and LoRA's target modules.")
        return torch.optim.AdamW(
            trained, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True
        )

    def lr_at(self, progress: float) -> float:
        if self.warmup and progress < self.warmup:
            return self.lr * (progress / self.warmup)
        done = (progress - self.warmup) / max(1e-12, 1 - self.warmup)
        falling = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[self.schedule]
        return self.lr * (self.end_lr_share + (1 - self.end_lr_share) * falling)

    def step(self, optimizer: torch.optim.Optimizer, progress: float) -> float:
        """One update at this progress, by the gradients of all processes; returns their norm before the limit (its
        caller checks that it is finite)."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        ranks.sum_gradients(parameters)
        norm = float(nn.utils.clip_grad_norm_(parameters, self.clip_norm or math.inf))
        if math.isfinite(norm):
            for group in optimizer.param_groups:
                group["lr"] = self.lr_at(progress)
            optimizer.step()
            # A fused step does not count as a change of the weights; who keeps what they computed goes by that count.
            increment_version(parameters)
        optimizer.zero_grad(set_to_none=True)
        return norm
