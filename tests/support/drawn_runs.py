"""Recipes on image tokens, run small: an untrained Janus in a folder, a step of a stage taken apart."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from gamutrl.core import Batch, Context
from gamutrl.policies.image_tokens import ImageTokenPolicy
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL
from gamutrl.training.run import Run, train
from gamutrl.zoo import random_images


@cache
def folder() -> Path:
    """The folder of an untrained Janus, one for the whole session."""
    return random_images.build("janus", Path(mkdtemp()) / "janus")


def untrained() -> ImageTokenPolicy:
    return ImageTokenPolicy.load(folder(), freeze=("vision", "connector", "generation"))


def small(preset: Preset, **changes: Any) -> RL:
    """The last stage of a preset, for two prompts and three rollouts each."""
    stage: Any = preset.stages[-1]
    sampling = replace(stage.sampling, max_tokens=6)
    return replace(stage, **{"prompts_per_step": 2, "group_size": 3, "sampling": sampling, **changes})


def scored(stage: RL, policy: ImageTokenPolicy, step: int = 0) -> tuple[Batch, Context]:
    """What a stage samples at a step, with its rewards and advantages."""
    context = Context(step, 100, models={"policy": policy})
    prompts = stage.data.batch(step, stage.prompts_per_step, 0)
    with torch.no_grad():
        return stage.with_advantage(stage.score(context, stage.rollout(stage, prompts, context)), context), context


def short_run(preset: Preset, place: Path, **changes: Any) -> tuple[Run, list[dict[str, Any]]]:
    """Two small steps of a preset on an untrained model: the run, and its lines of metrics."""
    stage = small(preset, steps=2, **changes)
    sampling = replace(preset.evaluation.sampling, max_tokens=6)
    evaluation = replace(preset.evaluation, rows=3, sampling=sampling)
    run = train(replace(preset, stages=(stage,), evaluation=evaluation).with_model(str(folder())), place)
    return run, [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
