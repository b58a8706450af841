"""Coefficients that steer themselves during training."""

from __future__ import annotations

import torch
from torch import Tensor


class EntropyController:
    """The coefficient of an entropy bonus that keeps the entropy near a target (ReasonGen-R1, arXiv 2505.24875).

    alpha = sinh(psi) multiplies the entropy in the loss: after each update one Adam step on -alpha · (entropy -
    target), then alpha is kept within its bounds. `coefficient` is -alpha, the entropy's weight as a bonus.
    """

    def __init__(
        self, target: float, *, lr: float = 5e-5, low: float = -5e-3, high: float = 5e-3, initial: float = 0.0
    ) -> None:
        self.target, self.low, self.high = target, low, high
        self.psi = torch.tensor(initial).asinh().requires_grad_()
        self.optimizer = torch.optim.Adam([self.psi], lr=lr)

    @property
    def alpha(self) -> Tensor:
        """What the entropy is multiplied by in the loss, without a gradient."""
        return self.psi.detach().sinh()

    @property
    def coefficient(self) -> Tensor:
        """The weight of the entropy as a bonus."""
        return -self.alpha

    def update(self, entropy: float) -> None:
        """Take in the entropy that was measured."""
        self.optimizer.zero_grad()
        (-self.psi.sinh() * (entropy - self.target)).backward()
        self.optimizer.step()
        with torch.no_grad():
            self.psi.copy_(self.alpha.clamp(self.low, self.high).asinh())
