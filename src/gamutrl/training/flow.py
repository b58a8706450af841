"""What stages of denoising steps have in common: divergences of whole steps, kept means, shares of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.functional.divergences import gaussian_kl
from gamutrl.functional.objectives import clipped_surrogate
from gamutrl.functional.ratios import normalized_log_ratio
from gamutrl.policies.flow import step_mean
from gamutrl.training.defaults import old_and_reference, sample_groups
from gamutrl.training.schedule import Number

if TYPE_CHECKING:
    from gamutrl.training.rl import RL

MEAN = ("mean", step_mean)
"""The statistic that exact divergences compare: the mean of each step, on the batch as `mean_NT`."""


@dataclass(frozen=True)
class GaussianKL:
    """A penalty that keeps the policy's steps near those of a named reference: the KL of two Gaussians, exactly.

    weight: a number or a schedule; 0 switches it off, unless `measure` asks to see it. whole_step: the deviation that
    divides is the step's own, √(-dt) in it (TempFlow-GRPO); else it is left out (Flow-GRPO's code).
    """

    weight: Number = 0.04
    reference: str = "base"
    whole_step: bool = False
    measure: bool = False
    in_reward: bool = False

    def __post_init__(self) -> None:
        if self.in_reward:
            raise ValueError("kl.in_reward: the divergence of whole steps is a term of the loss, not of the reward.")

    @property
    def applies(self) -> bool:
        return self.measure or self.in_loss

    @property
    def in_loss(self) -> bool:
        return callable(self.weight) or self.weight != 0

    @property
    def statistics(self) -> Mapping[str, Any]:
        return dict([MEAN])

    def score(self, policy: Any, batch: Batch) -> Batch:
        """The batch with the means that the reference would have stepped to."""
        name = f"mean_{self.reference}_NTX"
        if name in batch:
            return batch
        with policy.reference(self.reference), torch.no_grad():
            return batch.with_(**{name: policy.log_probs(batch, self.statistics)[1]["mean"]})

    def terms(self, logp_NT: Tensor, batch: Batch) -> Tensor:
        """The divergence, a step at a time; 0 where the mask is False."""
        std_NT = batch["std_NT"]
        if not self.whole_step:
            std_NT = std_NT / (batch["level_NT"] - batch["level_next_NT"]).clamp(min=1e-12).sqrt()
        on = batch.mask_NT.to(logp_NT.device)
        mean, reference = (batch[name][on] for name in ("mean_NT", f"mean_{self.reference}_NTX"))
        return torch.zeros_like(logp_NT).masked_scatter(on, gaussian_kl(mean, reference, std_NT.to(mean)[on]))


def old_means_and_reference(stage: RL, batch: Batch, context: Context) -> Batch:
    """As `old_and_reference`, with the means of the policy that sampled: one replay before the first update."""
    logp_NT, values = context.models[stage.trains].log_probs(batch, dict([MEAN]))
    batch = batch.with_(logp_old_NT=logp_NT, mean_old_NTX=values["mean"])
    return old_and_reference(stage, batch, context)


def rollout_with(stage: RL, prompts: Sequence[Prompt], context: Context, **sampling: Any) -> Batch:
    """`sample_groups` with some of the stage's sampling settings changed."""
    return sample_groups(replace(stage, sampling=replace(stage.sampling, **sampling)), prompts, context)


@dataclass(frozen=True)
class SomeSteps:
    """Trains a share of each rollout's trained steps, drawn for each of them apart (a `select` hook; DanceGRPO)."""

    share: float = 0.6

    def __call__(self, batch: Batch, context: Context) -> Batch:
        chance_NT = torch.rand(batch.mask_NT.shape, generator=context.generator("steps"))
        rank_NT = chance_NT.masked_fill(~batch.mask_NT, 2.0).argsort(1).argsort(1)
        most_N1 = (batch.mask_NT.sum(1, keepdim=True) * self.share).floor().clamp(min=1)
        return replace(batch, mask_NT=batch.mask_NT & (rank_NT < most_N1))


@dataclass(frozen=True)
class NormalizedSurrogate:
    """The clipped surrogate of ratios that are centred and equally spread at every step, over dt (GRPO-Guard).

    Needs the old means (`old_means_and_reference`) and the statistic `MEAN`. shared_drift: one centre for the rows of
    a step, as released, not one a row.
    """

    clip: float = 2e-6
    shared_drift: bool = False

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        on_NT = batch.mask_NT.to(logp_NT.device)
        terms_NT = torch.zeros_like(logp_NT)
        plain_NT = logp_NT - batch["logp_old_NT"].to(logp_NT)
        for t in on_NT.any(0).nonzero().flatten().tolist():
            rows = on_NT[:, t].nonzero().flatten()
            std = batch["std_NT"].to(logp_NT)[rows, t]
            mean, old = (batch[name][rows, t] for name in ("mean_NT", "mean_old_NTX"))
            ratio = normalized_log_ratio(plain_NT[rows, t], mean, old, std, shared_drift=self.shared_drift)
            step = (batch["level_NT"] - batch["level_next_NT"]).to(logp_NT)[rows, t]
            terms = clipped_surrogate(ratio, batch["advantage_NT"].to(logp_NT)[rows, t], self.clip) / step
            terms_NT = terms_NT.index_put((rows, torch.full_like(rows, t)), terms)
        return terms_NT
