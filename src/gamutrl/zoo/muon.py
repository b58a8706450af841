"""The optimizer of the packaged models: matrices by Muon (Jordan et al. 2024), all else by AdamW.

`torch.optim.Muon` orthogonalises one matrix at a time in bfloat16, which takes 3.6 s a step for a model of this size on
two cores; matrices of one shape together in float32 take 0.15 s.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def orthogonal(matrix_KMN: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrices (roughly) with all singular values near 1, by a quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix_KMN / (matrix_KMN.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    wide = x.shape[-2] > x.shape[-1]
    x = x.mT if wide else x
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if wide else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; scaled so that AdamW's learning rates serve. Weight decay is decoupled."""

    def __init__(self, params: list[nn.Parameter], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append((parameter, parameter.grad))
            for shape, parameters in shapes.items():
                directions = []
                for parameter, gradient in parameters:
                    state = self.state[parameter]
                    if not state:
                        state["momentum"] = torch.zeros_like(parameter)
                    state["momentum"].lerp_(gradient, 1 - group["momentum"])
                    directions.append(torch.lerp(gradient, state["momentum"], group["momentum"]))
                # A convolution's kernel is the matrix that a patch is multiplied with.
                stacked = torch.stack(directions).flatten(2)
                scale = group["lr"] * 0.2 * max(stacked.shape[1:]) ** 0.5
                for (parameter, _), direction in zip(parameters, orthogonal(stacked).unbind()):
                    step = direction.view(shape)
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=scale)
