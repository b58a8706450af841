"""The reward-model stage: a scorer learns which of several answers is better.

A preference stage whose likelihood is a score: `answers` are judged pairs or rankings, every head is an "action", and
nothing is compared with a reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Source
from gamutrl.functional import preference
from gamutrl.policies.scorer import Scorer
from gamutrl.training.forward import at_levels
from gamutrl.training.preference import Preference, Ranked, on_rows
from gamutrl.training.session import Session


def reward_model(data: Source, trains: str = "reward", **changes: Any) -> Preference:
    """The stage that trains the scorer `trains` on rankings, by Bradley-Terry unless changes say otherwise."""
    settings = {
        "name": "reward_model",
        "answers": Ranked(),
        "prepare": each_head,
        "likelihood": scores,
        "objective": Ordering(),
        "references": (),
        **changes,
    }
    return Preference(data, trains=trains, **settings)


def scores(scorer: Any, batch: Batch) -> Tensor:
    """The scorer's scores of the rows' answers, `[N, H]`: a `likelihood`."""
    return scorer.scores(batch.take_rollouts(batch.rollout_N))


def each_head(stage: Preference, batch: Batch, context: Context) -> Batch:
    """A `prepare`: every row's actions are the scorer's heads."""
    return at_levels(batch, stage.value(context.models[stage.trains], batch).shape[1])


@dataclass(frozen=True)
class Ordering:
    """-log σ(better - worse) over every two answers of a group (Bradley-Terry): an `objective`.

    Labels are `label_R`, or `label_RH` for each head; NaN: not judged. ties: how much room ties have (Rao-Kupper's
    constant, above 1; VideoAlign, arXiv 2501.13918); None: ties teach nothing.
    """

    ties: float | None = None

    def __call__(self, score_NH: Tensor, batch: Batch, context: Context) -> Tensor:
        label_NH = batch["label_RH"] if "label_RH" in batch else batch["label_R"][:, None]
        label_NH = label_NH[batch.rollout_N].expand_as(score_NH)
        group_N = batch.group_N
        one_M, other_M = (group_N[:, None] == group_N).triu(1).nonzero().unbind(1)
        lead_MH = label_NH[one_M] - label_NH[other_M]
        gap_MH = (score_NH[one_M] - score_NH[other_M]) * torch.where(lead_MH < 0, -1.0, 1.0)
        tied_MH = lead_MH == 0
        if self.ties is None:
            loss_MH = preference.bradley_terry(gap_MH, torch.zeros_like(gap_MH)).masked_fill(tied_MH, 0.0)
        else:
            loss_MH = preference.bradley_terry_ties(gap_MH, torch.zeros_like(gap_MH), tied_MH, self.ties)
        return on_rows(loss_MH.masked_fill(lead_MH.isnan(), 0.0), one_M, other_M, batch)


@dataclass(frozen=True)
class Regression:
    """(score - label)², for answers whose worth is a number: an `objective`. NaN: not judged."""

    def __call__(self, score_NH: Tensor, batch: Batch, context: Context) -> Tensor:
        label_NH = batch["label_RH"] if "label_RH" in batch else batch["label_R"][:, None]
        label_NH = label_NH[batch.rollout_N].to(score_NH)
        return (score_NH - torch.where(label_NH.isnan(), score_NH.detach(), label_NH)).square()


@dataclass(frozen=True)
class Standardise:
    """A stage of one step: the scorer's scale becomes that of its scores on these answers (mean 0, deviation 1)."""

    data: Source
    answers: Callable[[Any, Any], Batch] = Ranked()
    trains: str = "reward"
    name: str = "standardise"
    rows: int = 256
    steps: int = 1

    def run(self, session: Session) -> None:
        scorer: Scorer = session.models[self.trains]
        for record in session.steps(self.name, self.steps, {}):
            batch = self.answers(scorer, self.data.batch(record.step, self.rows, session.stage_seed))
            scorer.standardise(batch)
            mean, std = (float(values[0]) for values in (scorer.module.mean_H, scorer.module.std_H))
            record.metrics |= {"score/mean": mean, "score/std": std}
            if not math.isfinite(mean + std):
                raise session.fail("The scorer's scores are not finite.")


@dataclass(frozen=True)
class ModelScore:
    """The standardised score of a trained scorer, of the run's model of that name: a reward's `score`.

    head: which of its scores (None: their sum). Differentiable in the outputs.
    """

    model: str = "reward"
    head: int | None = 0

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        score_RH = context.models[self.model].standardised(batch)
        return score_RH.sum(1) if self.head is None else score_RH[:, self.head]
