"""VARGPT-v1.1: rounds of tuning on pictures, and of preferring them to the model's own."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import ImageChops

from gamutrl.core import Prompt, Sampling
from gamutrl.data.worlds import pictures
from gamutrl.policies.next_scale import NextScale, NextScalePolicy, TokenizerConfig, TransformerConfig
from gamutrl.recipes.vargpt_v1_1 import RECIPE, AgainstOwn, Given, Rendered
from gamutrl.training.config import from_json, to_json
from gamutrl.training.run import train


@pytest.fixture
def model() -> NextScale:
    torch.manual_seed(0)
    tokens = TokenizerConfig(
        scales=(1, 2), codes=16, latent=4, channels=8, multipliers=(1,), blocks=1, groups=2, patch=8
    )
    return NextScale(
        tokens, TransformerConfig(depth=1, width=16, heads=2, words=pictures.WORDS, text_length=14, text_depth=1)
    )


def test_rendered_pictures_win_against_those_of_the_round_s_beginning(model):
    policy = NextScalePolicy(model)
    policy.keep_reference("base")
    rows = pictures.rows("train", 3, task="object")
    before = AgainstOwn()(policy, rows)
    with torch.no_grad():
        model.transformer.head.weight.mul_(-5)
    after = AgainstOwn()(policy, rows)
    assert before["label_R"].tolist() == [1, 0] * 3
    assert before.group_R.tolist() == [0, 0, 1, 1, 2, 2]
    for one, other, row in zip(before.rollouts[::2], after.rollouts[::2], rows):
        assert not ImageChops.difference(one.output, pictures.target(row, 24, 1)).getbbox()
        assert torch.equal(one.turns[0].tokens_T, other.turns[0].tokens_T)
    own = [r.output.tobytes() for r in before.rollouts[1::2]]
    assert own == [r.output.tobytes() for r in after.rollouts[1::2]]


def test_a_missing_picture_is_told():
    with pytest.raises(ValueError, match="captions"):
        Given()(Prompt.ask("a cat", id="captions.jsonl:4"), 0)
    row = pictures.rows("train", 1, task="object")[0]
    assert Rendered()(row, 1).tobytes() != Rendered()(row, 2).tobytes()


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_a_round_teaches_a_random_model_to_prefer(model, tmp_path: Path):
    model.save(tmp_path / "model")
    tiny = RECIPE.tiny.with_model(str(tmp_path / "model"))
    assert [stage.name for stage in tiny.stages] == ["sft1", "dpo1", "sft2", "dpo2"]
    stages = tuple(replace(stage, steps=2, rows_per_step=4) for stage in tiny.stages[:2])
    evaluation = replace(tiny.evaluation, rows=4, sampling=Sampling(temperature=0.0))
    train(replace(tiny, stages=stages, evaluation=evaluation), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["sft1", "sft1", "dpo1", "dpo1"]
    assert lines[2]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert lines[3]["loss"] < math.log(2)
