"""Stages other than RL on a denoiser, on blobs or on a pipeline: what recipes without a policy gradient start from."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import torch

from gamutrl.core import Batch, Source
from gamutrl.data.sources import WorldRows
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.models import FlowModel
from gamutrl.policies.scorer import numbers_of
from gamutrl.recipes.flow_plain import ENDS
from gamutrl.rewards.base import Reward
from gamutrl.rewards.blobs import ARTEFACT, CLEAN, DENSITY, GOLD, MODE, PROXY
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.session import Stage

PROMPTS = WorldRows("blobs", "pictures")
"""Prompts alone, ever new."""

ODE = FlowSampling(steps=10, eta=0.0)
"""Deterministic, without guidance: how held-out rows are measured."""

EPOCH: dict[str, Any] = {
    "steps": 1000,
    "prompts_per_step": 48,
    "group_size": 24,
    "rows_per_forward": 24,
    "optimizer": AdamW(lr=3e-4, weight_decay=1e-4),
}
"""Flow-GRPO's released epoch on SD3.5, which those that come after it keep."""


def spoiled(batch: Batch, share: float = 0.6, most: float = 1.0) -> Batch:
    """The batch with noise of up to `most` on a share of its outputs, which become tensors.

    Whoever judged generated pictures has seen bad ones; a reward model that has not is easily hacked. The same for the
    same rows.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(batch.prompts[0].id.encode()))
    x_RD = torch.stack([numbers_of(rollout.output) for rollout in batch.rollouts])
    chance_R1, strength_R1 = torch.rand(2, len(x_RD), 1, generator=generator)
    noise_RD = most * strength_R1 * torch.randn(x_RD.shape, generator=generator)
    x_RD = x_RD + torch.where(chance_R1 < share, noise_RD, 0.0)
    return replace(batch, rollouts=[replace(rollout, output=x) for rollout, x in zip(batch.rollouts, x_RD)])


def on_blobs(
    *stages: Stage,
    model: str = "blobs-eps",
    metric: Reward = GOLD,
    measured_by: FlowSampling = ODE,
    rows: int = 280,
    models: tuple[tuple[str, Any], ...] = (),
) -> Preset:
    """A `tiny` preset: stages on the world's pictures, measured by the gold score (or another) on held-out prompts."""
    held_out = WorldRows("blobs", "pictures", "test", size=rows)
    seen = tuple(reward for reward in (GOLD, PROXY, ARTEFACT, MODE, CLEAN, DENSITY) if reward != metric)
    evaluation = Evaluation(held_out, metric, seen, rows, measured_by, batch=280)
    return Preset(FlowModel(model, freeze=ENDS), stages, evaluation, models, save_every=50)


def on_pipeline(
    *stages: Stage,
    model: FlowModel,
    held_out: Source,
    metric: Reward,
    measured_by: FlowSampling,
    rows: int = 200,
    stand_in: str = "",
) -> Preset:
    """A `paper` preset: stages on a published pipeline, measured by a reward model on held-out prompts."""
    return Preset(
        model, stages, Evaluation(held_out, metric, rows=rows, sampling=measured_by), save_every=50, stand_in=stand_in
    )
