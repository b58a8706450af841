"""A zoo model's folder: where it is made, its weights, its card."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForImageTextToText, JanusForConditionalGeneration

from gamutrl.zoo import architecture, janus, lessons, maze
from gamutrl.zoo.packaged import MODELS
from gamutrl.zoo.phases import Phase
from gamutrl.zoo.writing import export, folders, write_card


@pytest.fixture(scope="module")
def tokenizer():
    return janus.build_tokenizer(["the next frame"] * 40)


class TestExport:
    def test_what_is_written_loads_as_it_was_but_for_rounding(self, tokenizer, tmp_path):
        model = maze.build_model(tokenizer)
        export(model, maze.build_processor(tokenizer), tmp_path / "model")
        again = JanusForConditionalGeneration.from_pretrained(tmp_path / "model", dtype=torch.float32)
        assert again.state_dict().keys() == model.state_dict().keys()
        for (name, one), other in zip(model.state_dict().items(), again.state_dict().values()):
            assert torch.equal(one.half().float(), other), name

    def test_a_tied_output_weight_is_left_out_and_one_of_its_own_is_kept(self, tokenizer, tmp_path):
        model = maze.build_model(tokenizer)
        processor = maze.build_processor(tokenizer)
        export(model, processor, tmp_path / "tied")
        model.lm_head.weight = nn.Parameter(2 * model.get_input_embeddings().weight.detach())
        export(model, processor, tmp_path / "apart")
        tied, apart = (load_file(tmp_path / name / "model.safetensors") for name in ("tied", "apart"))
        assert apart.keys() - tied.keys() == {"lm_head.weight"}
        assert not tied.keys() - apart.keys()
        assert torch.equal(apart["lm_head.weight"], model.lm_head.weight.detach().half())

    def test_an_idefics_is_written_the_same_way(self, tmp_path):
        found = lessons.examples(lessons.STILLS, 20, seed=0)
        tokenizer = architecture.build_tokenizer(text for one in found for said in one.dialogues for text in said)
        model = architecture.build_model(tokenizer)
        export(model, architecture.build_processor(tokenizer), tmp_path / "model")
        again = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
        assert again.dtype == torch.float32
        assert again.lm_head.weight is again.get_input_embeddings().weight


class TestFolders:
    def test_checkpoints_beside_the_model_go_once_it_is_written(self, tmp_path):
        with folders("some-model", tmp_path / "made", None) as (out, work):
            assert out == tmp_path / "made"
            assert work == tmp_path / ".some-model-work"
            work.mkdir()
        assert not work.exists()

    def test_those_of_a_build_that_stopped_stay(self, tmp_path):
        def stopped():
            with folders("some-model", tmp_path / "made", None) as (_, work):
                work.mkdir()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stopped()
        assert (tmp_path / ".some-model-work").exists()

    def test_a_folder_of_the_users_own_stays(self, tmp_path):
        with folders("some-model", tmp_path / "made", tmp_path / "mine") as (_, work):
            work.mkdir()
        assert work == tmp_path / "mine"
        assert work.exists()

    def test_a_model_is_packaged_where_no_folder_is_named(self, tmp_path):
        with folders("some-model", None, tmp_path) as (out, _):
            assert out == MODELS / "some-model"


@dataclass(frozen=True)
class Plan:
    steps: int = 7
    seed: int = 3


def test_a_card_says_what_was_trained_and_measured(tmp_path):
    layer = nn.Linear(9, 10)
    phases = [Phase("one", layer, [], 2, 30.0, {"loss": 0.5}), Phase("two", layer, [], 5, 60.0)]
    readme = (
        "{name}: {parameters} million, {phases}, {minutes} minutes, seed {seed}, {steps} steps, {held_out[é]} {rows}"
    )
    write_card(tmp_path, "some-model", readme, layer, Plan(), phases, {"é": 0.25}, remarks="Short.", rows=4)
    card = json.loads((tmp_path / "card.json").read_text("utf-8"))
    versions = card.pop("versions")
    assert card == {
        "name": "some-model",
        "parameters": 100,
        "plan": {"steps": 7, "seed": 3},
        "training": {"one": {"loss": 0.5, "steps": 2, "seconds": 30.0}, "two": {"steps": 5, "seconds": 60.0}},
        "minutes": 1.5,
        "remarks": "Short.",
        "held_out": {"é": 0.25},
    }
    assert versions["torch"] == torch.__version__
    told = (tmp_path / "README.md").read_text("utf-8")
    assert (
        told == "some-model: 0.0001 million, 2 steps of `one`, 5 steps of `two`, 1.5 minutes, seed 3, 7 steps, 0.25 4"
    )
