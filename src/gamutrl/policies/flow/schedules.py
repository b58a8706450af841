"""Noise schedules: which levels a sampler visits, how a latent is noised, and what one denoising step is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from gamutrl.functional.denoising import corrupt
from gamutrl.functional.sampling import (
    Level,
    Transition,
    ddim,
    dpm_solver,
    flow_sde,
    like,
    multistep_order,
    scaled_linear_alphas,
    shifted_sigmas,
)
from gamutrl.policies.flow.sampling import FlowSampling


class Grid(NamedTuple):
    """The levels of a sampler: `level_S1` before each of S steps and after the last, `time_S` as the denoiser is told.

    A level is σ of a flow (1 is noise), ᾱ of a diffusion (1 is clean).
    """

    level_S1: Tensor
    time_S: Tensor

    @property
    def steps(self) -> int:
        return len(self.time_S)


class Schedule(Protocol):
    """What a denoiser was trained to undo."""

    def grid(self, steps: int) -> Grid:
        """The levels that a sampler of so many steps visits."""

    def at(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Level and time at a share of the way to pure noise, u in [0, 1)."""

    def mix(self, clean: Tensor, noise: Tensor, level: Level) -> Tensor:
        """The noised latent at a level."""

    def target(self, clean: Tensor, noise: Tensor, level: Level) -> Tensor:
        """What the denoiser should have predicted there."""

    def clean(self, x: Tensor, predicted: Tensor, level: Level) -> Tensor:
        """The clean latent that a prediction means."""

    def transition(
        self,
        x: Tensor,
        predicted: Tensor,
        level: Level,
        level_next: Level,
        eta: float,
        sampling: FlowSampling,
        first: Level,
    ) -> Transition:
        """One step from a level to the next; first: the grid's second level."""

    def solve(self, x: Tensor, clean: Sequence[Tensor], grid: Grid, step: int) -> Tensor:
        """A deterministic step of second order from the clean latents that were predicted, newest first."""


@dataclass(frozen=True)
class FlowSchedule:
    """Flow matching: x_σ = (1 - σ) x₀ + σ noise, the denoiser predicts noise - x₀ and is told σ.

    shift: as `functional.sampling.shift_time` has it.
    """

    shift: float = 1.0

    def grid(self, steps: int) -> Grid:
        level_S1 = shifted_sigmas(steps, self.shift)
        return Grid(level_S1, level_S1[:-1])

    def at(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return u, u

    def mix(self, clean: Tensor, noise: Tensor, level: Level) -> Tensor:
        return corrupt(clean, noise, level)

    def target(self, clean: Tensor, noise: Tensor, level: Level) -> Tensor:
        return noise - clean

    def clean(self, x: Tensor, predicted: Tensor, level: Level) -> Tensor:
        return x - like(level, x) * predicted

    def transition(
        self,
        x: Tensor,
        predicted: Tensor,
        level: Level,
        level_next: Level,
        eta: float,
        sampling: FlowSampling,
        first: Level,
    ) -> Transition:
        one = first if sampling.sigma_one is None else sampling.sigma_one
        kernel = sampling.kernel if eta else "flow"
        return flow_sde(x, predicted, level, level_next, eta, kernel, sigma_one=one)

    def solve(self, x: Tensor, clean: Sequence[Tensor], grid: Grid, step: int) -> Tensor:
        order = multistep_order(2, step, grid.steps, len(clean))
        levels = [grid.level_S1[step + 1 - back] for back in range(order + 1)]
        return dpm_solver(x, clean[:order], levels).mean


@dataclass(frozen=True, eq=False)
class DiffusionSchedule:
    """Discrete diffusion: x = √ᾱ x₀ + √(1 - ᾱ) noise, the denoiser is told the training step.

    alpha_K: ᾱ of each training step. predicts, spacing, offset, clip: as diffusers' DDIMScheduler has them
    (`prediction_type`, `timestep_spacing`, `steps_offset`, `clip_sample_range`). final: ᾱ after the last step.
    """

    alpha_K: Tensor = field(default_factory=scaled_linear_alphas)
    predicts: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    spacing: Literal["leading", "trailing", "linspace"] = "leading"
    offset: int = 0
    final: float | None = None
    clip: float | None = None

    def grid(self, steps: int) -> Grid:
        count = len(self.alpha_K)
        if steps > count:
            raise ValueError(f"This denoiser knows {count} noise levels: sampling.steps cannot be {steps}.")
        match self.spacing:
            case "leading":
                time_S = torch.arange(steps - 1, -1, -1) * (count // steps) + self.offset
            case "trailing":
                time_S = (count - torch.arange(steps) * (count / steps)).round().long() - 1
            case "linspace":
                time_S = torch.linspace(count - 1, 0, steps, dtype=torch.float64).round().long()
        last = self.alpha_K[:1] if self.final is None else self.alpha_K.new_tensor([self.final])
        return Grid(torch.cat([self.alpha_K[time_S], last]), time_S)

    def at(self, u: Tensor) -> tuple[Tensor, Tensor]:
        time = (u * len(self.alpha_K)).long().clamp(0, len(self.alpha_K) - 1)
        return self.alpha_K.to(u.device)[time], time

    def mix(self, clean: Tensor, noise: Tensor, level: Level) -> Tensor:
        level = like(level, clean)
        return level.sqrt() * clean + (1 - level).sqrt() * noise

    def target(self, clean: Tensor, noise: Tensor, level: Level) -> Tensor:
        if self.predicts == "v_prediction":
            level = like(level, clean)
            return level.sqrt() * noise - (1 - level).sqrt() * clean
        return noise if self.predicts == "epsilon" else clean

    def clean(self, x: Tensor, predicted: Tensor, level: Level) -> Tensor:
        return ddim(x, predicted, level, level, 0.0, predicts=self.predicts, clip=self.clip).clean

    def transition(
        self,
        x: Tensor,
        predicted: Tensor,
        level: Level,
        level_next: Level,
        eta: float,
        sampling: FlowSampling,
        first: Level,
    ) -> Transition:
        return ddim(x, predicted, level, level_next, eta, predicts=self.predicts, clip=self.clip)

    def solve(self, x: Tensor, clean: Sequence[Tensor], grid: Grid, step: int) -> Tensor:
        raise ValueError("DPM-Solver steps are those of flows; a diffusion is sampled with solver='euler' (DDIM).")
