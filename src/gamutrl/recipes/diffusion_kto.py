"""Diffusion-KTO: Aligning Diffusion Models by Optimizing Human Utility (arXiv 2404.04465).

What it changes: no pairs. Every picture is liked or disliked by itself; what it gained over the reference, in
denoising error, is set against the batch's mean gain and felt through a utility that saturates on both sides. Likes
are drawn more often than they occur. It should help because single judgements are what products collect, and because a
utility of bounded slope is not dragged by what cannot be learned.

Source: github.com/jacklishufan/diffusion-kto at 226bbd02. The reference point is the mean gain of the batch, at least
0; the paper's other utilities are settings of the objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed, WorldRows
from gamutrl.functional.preference import prospect_value
from gamutrl.functional.selection import class_weights
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.models import FlowModel
from gamutrl.recipes.denoising_plain import on_blobs, on_pipeline
from gamutrl.recipes.diffusion_dpo import WithoutWords
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.rewards.models.embedding import pick_score
from gamutrl.training.forward import Matching, Noised, Uniform
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preference import Gain, Imitation, Judged, Preference


@dataclass(frozen=True)
class Balanced:
    """A finite source's rows, drawn with replacement so that the share `liked` of them has a true column."""

    rows: Any
    column: str = "liked"
    liked: float = 0.8

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        return [self.rows[row] for row in torch.multinomial(self.chance, size, True, generator=generator).tolist()]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Prompt:
        return self.rows[row]

    @cached_property
    def chance(self) -> Tensor:
        """The chance of each row, up to a factor."""
        labels: Sequence[Any] = self.rows.column(self.column)
        return class_weights(torch.tensor([bool(label) for label in labels]), self.liked)


@dataclass(frozen=True)
class WithPoint(Noised):
    """`Noised`, and the point that gains are seen from: the batch's mean gain over the base, at least 0."""

    def __call__(self, stage: Any, batch: Batch, context: Context) -> Batch:
        batch = super().__call__(stage, batch, context)
        gain_NT = stage.likelihood(context.models[stage.trains], batch) - batch["logp_base_NT"]
        return batch.with_(point_NT=gain_NT.mean().clamp(min=0).expand_as(gain_NT))


@dataclass(frozen=True)
class Utility:
    """1 − the utility of a gain over the point, of likes and of dislikes: an `objective`."""

    beta: float = 1000.0
    kind: Literal["sigmoid", "loss_averse", "risk_seeking_1", "risk_seeking_2", "risk_seeking_3"] = "sigmoid"
    liked: float = 1.0
    disliked: float = 1.0

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        gain_NT = Gain("action")(logp_NT, batch)
        liked_NT = (batch["label_R"][batch.rollout_N] > 0)[:, None].expand_as(gain_NT)
        value_NT = prospect_value(gain_NT, liked_NT, batch["point_NT"].to(gain_NT), self.beta, self.kind)
        return torch.where(liked_NT, self.liked, self.disliked) * (1 - value_NT)


LABELS = WorldRows("blobs", "labels", size=4096)
TINY = on_blobs(
    Preference(
        Balanced(LABELS, liked=0.5),
        answers=Judged(),
        steps=80,
        rows_per_step=128,
        prepare=WithPoint(Uniform(2)),
        likelihood=Matching(),
        objective=Utility(beta=100.0),
        optimizer=AdamW(lr=2e-4, weight_decay=1e-2),
    ),
)

JUDGED = FileRows("pickapic-judged")
PAPER = on_pipeline(
    Preference(
        Changed(Balanced(JUDGED), WithoutWords()),
        answers=Judged(output="target"),
        steps=20_000,
        rows_per_step=8,
        rows_per_forward=2,
        prepare=WithPoint(),
        likelihood=Matching(),
        objective=Utility(),
        optimizer=AdamW(lr=1e-7, weight_decay=1e-2, warmup=0.01),
    ),
    model=FlowModel("stable-diffusion-v1-5/stable-diffusion-v1-5"),
    held_out=replace(JUDGED, split="test"),
    metric=Reward("pick_score", pick_score()),
    measured_by=FlowSampling(steps=50, eta=0.0, guidance=7.0),
)

RECIPE = Recipe(
    title="Aligning Diffusion Models by Optimizing Human Utility",
    arxiv="2404.04465",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="single likes and dislikes, felt through a saturating utility of the gain over the batch's mean gain",
    formulas=(
        "g = error of the reference − error of the policy, one level and one noise a picture",
        "loss = 1 − σ(± β (g − max(0, mean g))), + for likes, − for dislikes",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": with_stage(
            TINY, objective=Imitation(), prepare=Noised(Uniform(2), references=()), references=()
        )
    },
    claim=Claim("gold score", baseline="diffusion-kto/ablation, supervised fine-tuning on the likes", budget="updates"),
    assumptions={
        "tiny.stages.preference.objective.beta": "100: errors are means over 64 numbers here, not over 16,384",
        "tiny.stages.preference.data.liked": "one half: the world's likes are not as noisy as Pick-a-Pic's",
        "paper.data": "a folder of pictures with the columns caption and liked, made of Pick-a-Pic's pairs",
    },
)
