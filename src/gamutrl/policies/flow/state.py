"""Denoising under way: the paths of R rollouts, open at every step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Prompt, Turn
from gamutrl.policies.flow.denoiser import Condition, Predicted, rows
from gamutrl.policies.flow.graphs import Room
from gamutrl.policies.flow.sampling import FlowSampling
from gamutrl.policies.flow.schedules import Grid


@dataclass(eq=False)
class Denoised(Turn):
    """One denoising step of a rollout: a turn of one action, the next latent (`tokens_T`, `[1, ...]`).

    A deterministic step keeps no latents: its `tokens_T` is `[1, 0]` and its `latent`, the one before, None. step: its
    number on the grid. level, level_next, time: the grid's there; first: the grid's second level. eta: the noise it was
    drawn with; std: the deviation that made. negative: the unconditional prediction in it, and moment: of which
    weights that was. Rollouts that were forked after the step share the object itself.
    """

    latent: Tensor | None = None
    step: int = 0
    level: float = 0.0
    level_next: float = 0.0
    time: float = 0.0
    first: float = 0.0
    eta: float = 0.0
    std: float = 0.0
    negative: Tensor | None = None
    moment: tuple[int, ...] | None = None
    sampling: FlowSampling = FlowSampling()

    @property
    def following(self) -> Tensor:
        """The latent after the step."""
        return self.tokens_T[0]


@dataclass(frozen=True, eq=False)
class State:
    """R paths after `step` steps; what a sampler's functions take and give, never changed in place.

    prompts: P prompts; prompt_R: whose path it is. latent_R: the latents. paths: each one's steps so far. names: what
    each path's noise is drawn by. condition, negative: of the R rows. clean: the clean latents predicted so far,
    newest first. predicted: the prediction at this step, once it was needed. conditions: of single prompts, for
    the batch. room: for graphs that the update will go back through (None: it keeps none).
    """

    prompts: list[Prompt]
    prompt_R: Tensor
    latent_R: Tensor
    sampling: FlowSampling
    grid: Grid
    names: tuple[str, ...]
    condition: Condition
    negative: Condition | None
    step: int = 0
    paths: tuple[tuple[Denoised, ...], ...] = ()
    clean: tuple[Tensor, ...] = ()
    predicted: list[Predicted] = field(default_factory=list)
    conditions: dict[Any, Any] = field(default_factory=dict)
    room: Room | None = None

    @property
    def done(self) -> bool:
        return self.step >= self.grid.steps

    def __len__(self) -> int:
        return len(self.prompt_R)

    def take(self, index: Tensor | Sequence[int], names: Sequence[str] | None = None) -> State:
        """Some of the paths, in an order, also more than once; two copies of a path draw the same noise unless new
        names are given."""
        index_R = torch.as_tensor(index, dtype=torch.long)
        at = index_R.to(self.latent_R.device)
        numbers = index_R.tolist()
        return replace(
            self,
            prompt_R=self.prompt_R[index_R],
            latent_R=self.latent_R[at],
            names=tuple(self.names[r] for r in numbers) if names is None else tuple(names),
            paths=tuple(self.paths[r] for r in numbers),
            condition=rows(self.condition, at),
            negative=None if self.negative is None else rows(self.negative, at),
            clean=tuple(value[at] for value in self.clean),
            predicted=[known.take(at) for known in self.predicted],
        )

    def fork(self, n: int) -> State:
        """Each path n times, side by side, with noise of their own from here on."""
        index = [r for r in range(len(self)) for _ in range(n)]
        names = [f"{name}.{self.step}.{child}" for name in self.names for child in range(n)]
        return self.take(index, names)


def standard_noise(shape: Sequence[int], names: Sequence[str], step: int) -> Tensor:
    """Normal noise `[R, ...]`, made on the CPU: a row's is a function of its name and the step only."""
    generator = torch.Generator()
    noise_R = torch.empty(len(names), *shape)
    for row, name in zip(noise_R, names):
        mixed = hashlib.blake2b(f"{name}/{step}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        generator.manual_seed(int.from_bytes(mixed, "little") >> 1)
        row.normal_(generator=generator)
    return noise_R
