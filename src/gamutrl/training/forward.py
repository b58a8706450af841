"""The forward process: outputs noised anew, and how well the policy undoes it, in place of a path's log-probabilities.

A rollout is then one row, and its "actions" are L noise levels: `Ends` (a `rollout`) or the data give the outputs,
`Noised` (a `prepare`) draws levels and noise, `Matching` or `predictions` (a `likelihood`) answers for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.functional.sampling import shift_time
from gamutrl.functional.shaping import piecewise
from gamutrl.functional.windows import stratified
from gamutrl.policies.flow.corruption import Corruption
from gamutrl.policies.flow.policy import FlowPolicy
from gamutrl.training.defaults import Reference, sample_groups

if TYPE_CHECKING:
    from gamutrl.training.rl import RL

Levels = Callable[[int, torch.Generator], Tensor]
"""`(rows, generator) -> level_NL`: shares of the way to pure noise, in [0, 1]."""


# -- levels -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Uniform:
    """`count` levels, each drawn evenly between `low` and `high`; `shift` moves them towards noise."""

    count: int = 1
    low: float = 0.0
    high: float = 1.0
    shift: float = 1.0

    def __call__(self, rows: int, generator: torch.Generator) -> Tensor:
        u_NL = self.low + (self.high - self.low) * torch.rand(rows, self.count, generator=generator)
        return shift_time(u_NL, self.shift)


@dataclass(frozen=True)
class LogitNormal:
    """`count` levels, the sigmoid of normal draws (SD3's training density, arXiv 2403.03206)."""

    count: int = 1
    mean: float = 0.0
    std: float = 1.0

    def __call__(self, rows: int, generator: torch.Generator) -> Tensor:
        return torch.sigmoid(self.mean + self.std * torch.randn(rows, self.count, generator=generator))


@dataclass(frozen=True)
class OfSampler:
    """`count` of the levels that a sampler of so many steps visits, without the last levels beyond `share` of them.

    order "permuted": each row takes them in an order of its own, the first `count` (DiffusionNFT); "stratified": one
    out of each of `count` equal parts, the same for all rows (AWM), from step `first` on.
    """

    steps: int = 10
    count: int = 9
    order: Literal["permuted", "stratified"] = "permuted"
    share: float = 1.0
    first: int = 0
    shift: float = 1.0

    def __call__(self, rows: int, generator: torch.Generator) -> Tensor:
        level_S = shift_time(1 - torch.arange(self.steps) / self.steps, self.shift)
        end = int(self.steps * self.share)
        if self.order == "stratified":
            draws = torch.rand(self.count, generator=generator).tolist()
            return level_S[stratified(self.first, end, self.count, draws)].expand(rows, -1)
        order_NS = torch.rand(rows, end - self.first, generator=generator).argsort(1)
        return level_S[self.first + order_NS[:, : self.count]]


# -- outputs, their corruption, their score ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Ends:
    """Samples the groups, with the named copy of the policy, and forgets the paths: a `rollout`.

    by: the copy that samples (None: the policy itself). levels: how many noise levels `Noised` will draw, the length
    of each row.
    """

    levels: int
    by: str | None = None

    def __call__(self, stage: RL, prompts: Sequence[Prompt], context: Context) -> Batch:
        policy: FlowPolicy = context.models[stage.trains]
        with policy.reference(self.by) if self.by else nullcontext():
            return at_levels(sample_groups(stage, prompts, context), self.levels)


@dataclass(frozen=True)
class Noised:
    """Draws levels and noise for each row's output, and asks each named copy what it makes of them: a `prepare`.

    shared: rows of one group get the same levels and noise (a pair, in Diffusion-DPO). What a copy answers is attached
    as `logp_<name>_NT`, or `predicted_<name>_NT` where the stage's likelihood gives predictions.
    """

    levels: Levels = Uniform()
    shared: bool = False
    references: tuple[str, ...] = ("base",)

    def __call__(self, stage: Any, batch: Batch, context: Context) -> Batch:
        policy: FlowPolicy = context.models[stage.trains]
        generator = context.generator("corruption")
        owner_N = batch.group_N.unique(return_inverse=True)[1] if self.shared else torch.arange(len(batch.rows))
        level_NL = self.levels(int(owner_N.max()) + 1, generator)[owner_N]
        batch = at_levels(batch, level_NL.shape[1])
        corruption = policy.corrupt(policy.outputs(batch), level_NL, generator, owner_N)
        batch = batch.with_(**corruption._asdict())
        for name in self.references:
            with policy.reference(name):
                value_NT = stage.likelihood(policy, batch)
            batch = batch.with_(**{f"{'logp' if value_NT.dim() == 2 else 'predicted'}_{name}_NT": value_NT})
        return batch


@dataclass(frozen=True)
class Matching:
    """Minus `scale` times the matching error at each level, `[N, L]`: a `likelihood`, up to a constant.

    tilt: the error counts (1 - level)^tilt, the level a share of the way to noise of a flow (0: as much everywhere).
    """

    scale: float = 1.0
    guidance: float = 1.0
    tilt: float = 0.0

    def __call__(self, policy: FlowPolicy, batch: Batch) -> Tensor:
        corruption = Corruption.of(batch)
        score_NL = policy.score(policy.outputs(batch), corruption, self.guidance)
        weight = (1 - corruption.level_NL.to(score_NL)) ** self.tilt if self.tilt else 1.0
        return self.scale * weight * score_NL


def predictions(policy: FlowPolicy, batch: Batch) -> Tensor:
    """The predictions at the levels, `[N, L, ...]`: a `likelihood` for objectives that compare predictions."""
    return policy.denoise(policy.outputs(batch), Corruption.of(batch))


def at_levels(batch: Batch, levels: int) -> Batch:
    """The batch with rows of `levels` actions, all to be trained; what was known of the paths' steps is dropped."""
    if batch.mask_NT.shape[1] == levels and bool(batch.mask_NT.all()) and "std_NT" not in batch:
        return batch
    shape = (len(batch.rows), levels)
    kept = {name: tensor for name, tensor in batch.tensors.items() if not name.rsplit("_", 1)[-1].startswith("NT")}
    return replace(batch, mask_NT=torch.ones(shape, dtype=torch.bool), logp_sampled_NT=torch.zeros(shape), tensors=kept)


@dataclass(frozen=True)
class Lagging(Reference):
    """A copy that follows after every step, at a pace that is piecewise linear in the steps done: points (step, decay).

    As `Reference`: copy ← decay · copy + (1 − decay) · policy.
    """

    points: tuple[tuple[float, float], ...] = ((0, 0.0),)

    def follow(self, policy: Any, context: Context) -> None:
        policy.update_reference(self.name, piecewise(context.step + 1, self.points))


def clean_of(batch: Batch) -> Tensor:
    """The outputs that were noised, once for each level, `[N, L, ...]`."""
    latents = [batch.rollouts[row.rollout].info["latent"] for row in batch.rows]
    return torch.stack(latents)[:, None].expand_as(batch["noise_NL"])
