"""The `paper` presets of flow recipes, run for a step on small random pipelines of the published architecture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.data.sources import Texts
from gamutrl.recipes.recipe import load
from gamutrl.rewards.base import Reward
from gamutrl.rewards.outputs import pixels_of
from gamutrl.training.run import train

pytest.importorskip("diffusers")
pytestmark = pytest.mark.slow

PROMPTS = Texts(("a red cube", "a blue ball", "two cats"))
FAMILIES = {
    "flow-grpo": "sd3",
    "grpo-guard": "sd3",
    "flow-dppo": "sd3",
    "tempflow-grpo": "sd3",
    "dancegrpo": "flux",
    "mixgrpo": "flux",
    "branchgrpo": "flux",
    "pref-grpo": "flux",
    "ddpo": "sd",
}


@dataclass(frozen=True)
class Brightness:
    """The mean of a picture's pixels."""

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        return torch.stack([pixels_of(rollout).mean() for rollout in batch.rollouts])


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    from gamutrl.zoo import random_pipelines

    torch.set_num_threads(1)
    return {
        family: random_pipelines.build(family, tmp_path_factory.mktemp(family)) for family in set(FAMILIES.values())
    }


@pytest.mark.parametrize("slug", sorted(FAMILIES))
def test_a_step_of_the_published_settings(slug, pipelines, tmp_path):
    preset = load(slug).paper
    stage: Any = preset.stages[-1]
    rewards = tuple(Reward(reward.name, Brightness(), reward.weight) for reward in stage.rewards)
    stage = replace(
        stage, data=PROMPTS, rewards=rewards, steps=1, prompts_per_step=2, group_size=min(2, stage.group_size)
    )
    measured = replace(preset.evaluation.sampling, steps=3)
    evaluation = replace(preset.evaluation, data=PROMPTS, metric=rewards[0], others=(), rows=2, sampling=measured)
    place = str(pipelines[FAMILIES[slug]])
    model = replace(preset.model, name=place, height=32, width=32, device="cpu", dtype="float32")
    run = train(replace(preset, model=model, stages=(stage,), evaluation=evaluation), tmp_path / "run")
    assert run.summary["steps"] == 1
    assert (tmp_path / "run" / "model").is_dir()
    assert run.summary["before"]["value"] != run.summary["after"]["value"]
