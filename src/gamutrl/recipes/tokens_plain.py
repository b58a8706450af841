"""Plain GRPO on image tokens: what the recipes for models that draw code by code start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from gamutrl.core import Prompt, Sampling, Source
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed, WorldRows
from gamutrl.data.transforms import Change
from gamutrl.data.worlds import pictures
from gamutrl.environments import Environment, SingleTurn
from gamutrl.policies.models import ImageTokenModel
from gamutrl.rewards.base import Reward
from gamutrl.rewards.shown import Shown
from gamutrl.training.defaults import KL, ActionWeights
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL

FACTS = Reward("facts", Shown(partial=True))
"""The share of what is asked for that a picture shows: objects, colours, counts, places, and nothing else."""

RIGHT = Reward("right", Shown())
"""1 if a picture shows all that is asked for and nothing else."""

ONE = Sampling(max_tokens=40)
"""One sample at temperature 1: what training samples, and what is measured."""

PROMPTS = Columns(prompt="prompt", image="none")
JANUS_PRO = ImageTokenModel("deepseek-community/Janus-Pro-7B", gradient_checkpointing=True)
TOKEN_MEAN = ActionWeights("token")
SIDE = 24
DESCRIBE, PLAN = "Describe: ", "Plan: "
"""What asks `janus-tiny` for a plan as a text of its own, or for one that runs on into its picture."""


def world_picture(prompt: Prompt, seed: int = 0) -> Image.Image:
    """A true picture of a prompt, of the size that the zoo's token models draw.

    The world's own, another one for each seed; of other rows the picture in their column `target`. Raises ValueError
    for a row that has neither.
    """
    if "facts" in prompt.columns:
        return pictures.target(prompt, SIDE, seed)
    picture = prompt.columns.get("target")
    if not isinstance(picture, Image.Image):
        there = ", ".join(prompt.columns) or "none"
        raise ValueError(
            f"Row {prompt.id} has no true picture of what it asks for, which this system learns from (columns: "
            f"{there}); name it with --columns 'target=…'."
        )
    return picture.convert("RGB").resize((SIDE, SIDE))


def tiny(
    rewards: tuple[Reward, ...] = (FACTS,),
    *,
    task: str = "object",
    knobs: Mapping[str, Any] | None = None,
    change: Change | None = None,
    environment: Environment = SingleTurn(),
    sampling: Sampling = ONE,
    metric: Reward = RIGHT,
    others: tuple[Reward, ...] = (FACTS,),
    rows: int = 256,
    **changes: Any,
) -> Preset:
    """A `tiny` preset: `janus-tiny` draws shapes that a small vision program reads back.

    task, knobs: the rows of the world of pictures; change: what is done to each prompt. metric, others: what is
    measured on held-out prompts, one sample each. changes: fields of the RL stage.
    """
    train: Source = WorldRows("pictures", task, "train", dict(knobs or {}))
    test: Source = WorldRows("pictures", task, "test", dict(knobs or {}), size=rows)
    if change is not None:
        train, test = Changed(train, change), Changed(test, change)
    stage = RL(
        train,
        rewards,
        environment=environment,
        sampling=sampling,
        **{
            "steps": 40,
            "prompts_per_step": 16,
            "weights": TOKEN_MEAN,
            "kl": KL(0.01),
            "optimizer": AdamW(lr=2e-4, warmup=0.1),
            **changes,
        },
    )
    measured = tuple(reward for reward in others if reward.name != metric.name)
    measured_by = replace(sampling, temperature=1.0)
    evaluation = Evaluation(test, metric, measured, rows, measured_by, environment, batch=128)
    return Preset(ImageTokenModel(), (stage,), evaluation)


def paper(
    model: ImageTokenModel,
    data: Source | str,
    rewards: tuple[Reward, ...],
    *,
    columns: Columns = PROMPTS,
    environment: Environment = SingleTurn(),
    sampling: Sampling = ONE,
    metric: Reward | None = None,
    rows: int = 200,
    stand_in: str = "",
    models: tuple[tuple[str, Any], ...] = (),
    responders: tuple[tuple[str, Any], ...] = (),
    **changes: Any,
) -> Preset:
    """A `paper` preset: the published model, prompts and settings, as fields of the RL stage."""
    train = FileRows(data, columns) if isinstance(data, str) else data
    held_out = replace(train, split="test") if isinstance(train, FileRows) else train
    stage = RL(
        train,
        rewards,
        environment=environment,
        sampling=sampling,
        **{"weights": TOKEN_MEAN, "optimizer": AdamW(lr=1e-6), **changes},
    )
    evaluation = Evaluation(
        held_out, metric or rewards[0], () if metric else rewards[1:], rows, sampling, environment, batch=16
    )
    return Preset(model, (stage,), evaluation, models, responders, save_every=50, stand_in=stand_in)
