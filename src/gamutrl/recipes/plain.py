"""Plain GRPO on a world or on a data set: what every recipe starts from, and changes in the fields its paper
changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from gamutrl.core import Sampling, Source
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed, WorldRows
from gamutrl.data.transforms import Change
from gamutrl.data.worlds import forms
from gamutrl.environments import SingleTurn
from gamutrl.policies.models import TextModel
from gamutrl.rewards.answers import accuracy, same_text
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.tags import tag_format
from gamutrl.training.defaults import KL
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL
from gamutrl.training.sft import SFT, Target

FORMAT = Reward("format", per_rollout(tag_format))
"""1 if the text is a think block and an answer block, and nothing else."""

ACCURACY = Reward("accuracy", per_rollout(accuracy, compare=same_text))
"""1 if the tagged answer is the row's, letter by letter."""


def tiny(
    world: str,
    task: str,
    rewards: tuple[Reward, ...] = (ACCURACY, FORMAT),
    metric: Reward = ACCURACY,
    *,
    knobs: Mapping[str, Any] | None = None,
    shift: Mapping[str, Any] | None = None,
    others: tuple[Reward, ...] = (),
    model: TextModel = TextModel(),
    rows: int = 300,
    measured_at: float = 0.0,
    change: Change | None = None,
    **changes: Any,
) -> Preset:
    """A `tiny` preset: a zoo model, generated rows, minutes on a CPU.

    world, task, knobs: the rows; shift: knobs that differ on the held-out rows. rewards: what is trained on. metric,
    others: what is measured on `rows` held-out rows, greedily or (measured_at) on one sample a row at a temperature.
    change: of each prompt, in training and held out. changes: fields of the RL stage; held-out rows meet its
    environment too.
    """
    knobs = {"form": "think", **(knobs or {})}
    held_out = {**knobs, **(shift or {})}
    test = WorldRows(world, task, "test", held_out, size=rows)
    sampling = changes.pop("sampling", Sampling(max_tokens=96))
    train = WorldRows(world, task, "train", knobs)
    stage = RL(
        Changed(train, change) if change else train,
        rewards,
        sampling=sampling,
        **{"steps": 100, "kl": KL(0.02), "optimizer": AdamW(lr=4e-5), **changes},
    )
    constants = tuple(forms.write(knobs["form"], answer) for answer in test.module.answers(task, **held_out))
    evaluation = Evaluation(
        Changed(test, change) if change else test,
        metric,
        (*others, *(r for r in rewards if r.name != metric.name and r.scope == "rollout")),
        rows,
        Sampling(max_tokens=sampling.max_tokens, temperature=measured_at),
        changes.get("environment", SingleTurn()),
        constants=constants,
    )
    return Preset(model, (stage,), evaluation)


def paper(
    model: TextModel,
    data: Source | str,
    rewards: tuple[Reward, ...],
    metric: Reward,
    *,
    held_out: Source | None = None,
    columns: Columns = Columns(),
    rows: int = 500,
    stand_in: str = "",
    **changes: Any,
) -> Preset:
    """A `paper` preset: the published model and data, with the published settings as fields of the RL stage."""
    train = FileRows(data, columns) if isinstance(data, str) else data
    if held_out is None:
        held_out = FileRows(data, columns, split="test") if isinstance(data, str) else data
    sampling = changes.pop("sampling", Sampling(max_tokens=256))
    environment = changes.get("environment", SingleTurn())
    stage = RL(train, rewards, sampling=sampling, **{"optimizer": AdamW(lr=1e-6), **changes})
    greedy = Sampling(max_tokens=sampling.max_tokens, temperature=0.0)
    evaluation = Evaluation(held_out, metric, rows=rows, sampling=greedy, environment=environment)
    return Preset(model, (stage,), evaluation, save_every=50, stand_in=stand_in)


def warm_start(data: Source, target: Target, steps: int = 60, lr: float = 2e-4, **changes: Any) -> SFT:
    """A supervised stage of minutes for a `tiny` preset whose packaged model was never asked such a thing."""
    return SFT(data, target, steps=steps, rows_per_step=32, optimizer=AdamW(lr=lr, schedule="cosine"), **changes)


def begun_with(cold_start: SFT, preset: Preset) -> Preset:
    """The preset with a supervised stage before its own."""
    return replace(preset, stages=(cold_start, *preset.stages))


def with_stage(preset: Preset, **changes: Any) -> Preset:
    """A preset with fields of its last stage changed: a variant."""
    *first, last = preset.stages
    return replace(preset, stages=(*first, replace(cast(RL, last), **changes)))


def with_rewards(preset: Preset, **changed: Reward) -> Preset:
    """A preset with some of its last stage's rewards exchanged, by name. Raises ValueError for a name it has not."""
    rewards = cast(RL, preset.stages[-1]).rewards
    if unknown := set(changed) - {reward.name for reward in rewards}:
        raise ValueError(f"The stage has no reward called {', '.join(sorted(unknown))}.")
    return with_stage(preset, rewards=tuple(changed.get(reward.name, reward) for reward in rewards))
