"""`var-tiny` and `mask-tiny`: what they learn from, and what the packaged ones can do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gamutrl import zoo
from gamutrl.core import Prompt, image
from gamutrl.data.worlds import pictures, render
from gamutrl.environments import SingleTurn
from gamutrl.policies.drawing import values_of
from gamutrl.policies.image_tokens import ImageTokenPolicy
from gamutrl.policies.masked import MaskedSampling
from gamutrl.policies.models import MaskedModel, NextScaleModel, model_of
from gamutrl.policies.next_scale import Tokenizer
from gamutrl.policies.words import UNKNOWN, Words
from gamutrl.zoo import janus_codes, mask, token_build, tokens, var
from gamutrl.zoo.builders import SCRIPTS
from gamutrl.zoo.janus_training import encode

SMALL = replace(janus_codes.CONFIG, codes=16, channels=8, groups=2)
TINY = {"var-tiny": (var, NextScaleModel), "mask-tiny": (mask, MaskedModel)}


@pytest.fixture(scope="module")
def bank() -> tokens.Bank:
    return tokens.bank(60, 3)


def test_a_bank_is_a_function_of_its_seed(bank):
    again = tokens.bank(60, 3)
    assert np.array_equal(bank.picture_B, again.picture_B)
    assert bank.prompts == again.prompts
    assert set(bank.tasks) <= {"digit", *tokens.TASKS}
    digits = [prompt for prompt, task in zip(bank.prompts, bank.tasks) if task == "digit"]
    assert digits
    assert all(prompt.startswith("the digit") for prompt in digits)


def test_ink_can_be_tinted(bank):
    canvas = bank.picture_B[0] * 0 + pictures.SHADE
    canvas[3:6, 3:6] = render.WHITE
    blue = tokens.tinted(canvas, render.COLOURS["blue"])
    assert tuple(blue[4, 4]) == render.COLOURS["blue"]
    assert (blue[0, 0] == pictures.SHADE).all()


def test_every_prompt_of_the_world_can_be_read():
    reader = Words(mask.MODEL.words, tokens.WORDS)
    for task in ("digit", *tokens.TASKS):
        assert (reader.rows([row.text for row in pictures.rows("test", 40, task=task)]) != UNKNOWN).all()
    assert (reader.rows([mask.DESCRIBE]) != UNKNOWN).all()


def test_batches_serve_every_row_once_a_round():
    served = list(tokens.batches(10, 3, 0, 6, seed=1))
    assert [len(batch) for batch in served] == [3] * 6
    for three in (served[:3], served[3:]):
        assert len(set(torch.cat(three).tolist())) == 9
    resumed = list(tokens.batches(10, 3, 4, 6, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(served[4:], resumed))


def test_what_every_test_row_names_is_learned_from_some_task():
    named = " ".join(tokens.bank(2000, 0).prompts)
    for row in pictures.rows("test", 40, task="object"):
        assert row.text in named


def test_the_tokenizer_begins_as_that_of_janus_tiny():
    if "janus-tiny" not in zoo.available():
        pytest.skip("janus-tiny is not built")
    taken = janus_codes.tokenizer()
    theirs = ImageTokenPolicy.load(zoo.path("janus-tiny"), dtype="float32", device="cpu").module
    shown = [pictures.target(row, tokens.SIZE) for row in pictures.rows("test", 20, task="pair")]
    picture = values_of(shown, tokens.SIZE)
    codes = taken.encode(picture)
    assert torch.equal(codes, encode(theirs, picture))
    with torch.no_grad():
        expected = theirs.model.vqmodel.decode(codes).clamp(-1, 1)
    # The border of the map differs, by a bias.
    assert (taken.decode(codes) - expected).abs().mean() < 0.05


def test_nothing_is_shown_where_the_ground_is(bank):
    tokenizer = Tokenizer(janus_codes.CONFIG)
    picture = torch.full((1, 3, tokens.SIZE, tokens.SIZE), -0.8)
    picture[0, 0, 5, 9] = 0.5
    where = tokens.ground(tokenizer, picture)[0]
    assert where.shape == (6, 6)
    assert (~where).nonzero().tolist() == [[1, 2]]


def test_a_tokenizer_learns_that_the_ground_is_code_0(bank, tmp_path):
    torch.manual_seed(0)
    tokenizer = Tokenizer(SMALL)
    assert tokens.train_tokenizer(tokenizer, bank, 9, tmp_path).step == 9
    assert (tokenizer.quantize.embedding.weight[0] == 0).all()
    assert tokenizer.quantize.embedding.weight[1:].any(1).all()


def test_a_sharpened_decoder_draws_other_pictures_of_the_same_codes(bank, tmp_path):
    torch.manual_seed(0)
    tokenizer = Tokenizer(SMALL)
    codes = tokens.codes(tokenizer, bank)
    before = tokenizer.decode(codes[:2])
    assert tokens.sharpen(tokenizer, bank, 2, tmp_path).step == 2
    assert torch.equal(tokens.codes(tokenizer, bank), codes)
    assert not torch.equal(tokenizer.decode(codes[:2]), before)


def test_scales_go_on_from_a_tokenizer_of_one_and_are_told_where_things_are(bank, tmp_path, monkeypatch):
    torch.manual_seed(0)
    one, made = Tokenizer(SMALL), []
    before = {name: value.clone() for name, value in one.state_dict().items()}
    for weight in (tokens.PLACES, 0.0):
        monkeypatch.setattr(tokens, "PLACES", weight)
        torch.manual_seed(1)
        made.append(Tokenizer(replace(SMALL, scales=(1, 2, 6))))
        phase = tokens.train_scales(made[-1], one, bank, 3, tmp_path / str(weight))
        assert {"places", "error"} <= set(phase.measured)
    told, untold = (tokenizer.encoder.conv_in.weight for tokenizer in made)
    assert not torch.equal(told, untold)
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    assert not any(parameter.requires_grad for parameter in made[0].parameters())


@pytest.mark.parametrize("name", TINY)
def test_the_packaged_model_draws_what_is_asked(name):
    if name not in zoo.available():
        pytest.skip(f"{name} is not built")
    script, spec = TINY[name]
    assert model_of(name) == spec()
    assert SCRIPTS[name] == script.__name__
    policy = spec().load()
    stated = json.loads((zoo.path(name) / "card.json").read_text("utf-8"))["held_out"]["guided"]
    found = token_build.measured(policy, script.SCRIPT.guided, rows=50)
    assert found["digit"]["right"] > stated["digit"]["right"] - 0.15
    assert found["object"]["facts"] > stated["object"]["facts"] - 0.15


def test_the_packaged_model_says_what_it_sees():
    if "mask-tiny" not in zoo.available():
        pytest.skip("mask-tiny is not built")
    rows = pictures.rows("test", 30, task="object")
    asked = [Prompt.ask(mask.DESCRIBE, image(pictures.target(row, tokens.SIZE)), id=row.id) for row in rows]
    batch = MaskedModel().load().rollout(asked, 1, SingleTurn(), MaskedSampling(temperature=0.0), seed=0)
    right = [r.text == row.text for r, row in zip(batch.rollouts, rows)]
    assert sum(right) / len(right) > 0.5
