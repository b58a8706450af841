"""The paper presets' last stages on small random pipelines of the published architectures."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import pytest
import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.data.sources import InMemory
from gamutrl.policies.models import FlowModel
from gamutrl.recipes import diffusion_dpo, diffusionnft, draft, semantic_relative_po
from gamutrl.rewards.base import Reward
from gamutrl.rewards.outputs import pixels_of
from gamutrl.training.session import Session

pytest.importorskip("diffusers")


@dataclass(frozen=True)
class Brightness:
    """The mean of a picture's pixels; differentiable where they carry a gradient."""

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        return torch.stack([pixels_of(rollout).mean() for rollout in batch.rollouts])


BRIGHT = Reward("bright", Brightness(), differentiable=True)
CAPTIONS = [Prompt.ask(words, id=words) for words in ("a red cat", "a blue dog")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    from gamutrl.zoo import random_pipelines

    root = tmp_path_factory.mktemp("pipelines")
    return {family: random_pipelines.build(family, root / family) for family in ("sd", "sd3")}


def lines_of(stage, model, folder) -> list[dict]:
    torch.set_num_threads(1)
    stage.run(Session(folder, {"policy": model.load()}))
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_reward_is_climbed_through_the_decoder_into_an_adapter(folders, tmp_path):
    preset = draft.RECIPE.paper
    model = replace(preset.model, name=str(folders["sd"]), gradient_checkpointing=False)
    stage = preset.stages[-1]
    small = {"data": InMemory(CAPTIONS), "rewards": (BRIGHT,), "steps": 2, "prompts_per_step": 2}
    stage = replace(stage, **small, prompts_per_forward=1, sampling=replace(stage.sampling, steps=3))
    stage = replace(stage, sample=replace(stage.sample, mean=1.5, std=0.1))
    told = lines_of(stage, model, tmp_path)
    assert all(line["grad_norm"] > 0 for line in told)
    assert told[0]["loss"] == pytest.approx(0.01 * (10 - told[0]["reward/bright"]), rel=1e-4)


def test_pairs_of_pictures_begin_at_log_2(folders, tmp_path):
    pictures = [Image.new("RGB", (32, 32), shade) for shade in ("white", "black")]
    columns = {"chosen": pictures[0], "rejected": pictures[1], "tie": False}
    rows = [replace(row, columns={**row.columns, **columns}) for row in CAPTIONS]
    stage = diffusion_dpo.RECIPE.paper.stages[-1]
    stage = replace(stage, data=InMemory(rows), steps=1, rows_per_step=2)
    (line,) = lines_of(stage, FlowModel(str(folders["sd"])), tmp_path)
    assert line["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert line["grad_norm"] > 0


def test_samples_are_noised_anew_and_learned_from_with_an_adapter(folders, tmp_path):
    preset = diffusionnft.RECIPE.paper
    stage = preset.stages[-1]
    small = {"data": InMemory(CAPTIONS), "rewards": (BRIGHT,), "steps": 1, "prompts_per_step": 2, "group_size": 2}
    stage = replace(stage, **small, rows_per_forward=2, sampling=replace(stage.sampling, steps=4))
    (line,) = lines_of(stage, replace(preset.model, name=str(folders["sd3"]), height=0, width=0), tmp_path)
    assert line["grad_norm"] > 0
    assert line["advantage/std"] > 0


def test_one_step_from_a_known_noise_gives_pictures_with_a_gradient(folders, tmp_path):
    stage = semantic_relative_po.RECIPE.paper.stages[-1]
    relative = replace(stage.rewards[0].score, score=Brightness())
    small = {"data": InMemory(CAPTIONS), "steps": 1, "prompts_per_step": 2}
    stage = replace(stage, **small, rewards=(replace(stage.rewards[0], score=relative),))
    stage = replace(stage, sampling=replace(stage.sampling, steps=3), sample=replace(stage.sample, guidance=1.0))
    (line,) = lines_of(stage, FlowModel(str(folders["sd3"])), tmp_path)
    assert line["grad_norm"] > 0
