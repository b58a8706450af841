"""The walk through a stage that learns from fresh rows each step: what such stages have in common."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from gamutrl.core import Context, Prompt, Source
from gamutrl.training.collect import source_of
from gamutrl.training.defaults import Reference
from gamutrl.training.optimizer import AdamW
from gamutrl.training.session import Session, StepRecord, Timer, stateful


class Walked(Protocol):
    """What a stage says of its walk."""

    @property
    def name(self) -> str: ...
    @property
    def data(self) -> Source: ...
    @property
    def trains(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def references(self) -> tuple[Reference, ...]: ...
    @property
    def optimizer(self) -> AdamW: ...


S = TypeVar("S", bound=Walked)


class Step(NamedTuple):
    """One step of the walk: who learns and how, from which rows, and where what happens is noted."""

    policy: Any
    optimizer: torch.optim.Optimizer
    prompts: list[Prompt]
    context: Context
    record: StepRecord
    timer: Timer


def of_run(stage: S, session: Session) -> S:
    """The stage as a run's own: what its fields remember belongs to the run; rows do not change and are not copied."""
    rows = source_of(stage.data, session)
    return replace(copy.deepcopy(stage, {id(stage.data): stage.data}), data=rows)  # type: ignore[type-var]


def walk(stage: Walked, session: Session, rows: int) -> Iterator[Step]:
    """The steps of a stage, each with so many rows; after it references follow and what was timed is noted."""
    policy = session.models[stage.trains]
    if session.fresh:  # A restored policy brings its references with it.
        for reference in stage.references:
            policy.keep_reference(reference.name)
    optimizer = stage.optimizer.build(policy.parameters())
    for record in session.steps(stage.name, stage.steps, {**stateful(stage), "optimizer": optimizer}):
        context, timer = session.context(record.step, stage.steps), Timer()
        prompts = stage.data.batch(record.step, rows, session.stage_seed)
        yield Step(policy, optimizer, list(prompts), context, record, timer)
        for reference in stage.references:
            reference.follow(policy, context)
        record.metrics |= context.metrics | {f"seconds/{name}": seconds for name, seconds in timer.seconds.items()}
