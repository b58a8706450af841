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
from gamutrl.policies.masked import MaskedSampling
from gamutrl.policies.models import MaskedModel, NextScaleModel, model_of
from gamutrl.policies.next_scale import Tokenizer
from gamutrl.policies.words import UNKNOWN, Words
from gamutrl.zoo import mask, token_build, tokens, var
from gamutrl.zoo.builders import SCRIPTS

TINY = {"var-tiny": (var, NextScaleModel), "mask-tiny": (mask, MaskedModel)}


@pytest.fixture(scope="module")
def bank() -> tokens.Bank:
    return tokens.bank(60, 3)


def test_a_bank_is_a_function_of_its_seed(bank):
    again = tokens.bank(60, 3)
    assert np.array_equal(bank.picture_B, again.picture_B)
    assert bank.prompts == again.prompts
    assert set(bank.tasks) <= {"digit", *tokens.TASKS}
    digits = bank.only(["digit"])
    assert len(digits.prompts) == bank.tasks.count("digit") > 0
    assert all(prompt.startswith("the digit") for prompt in digits.prompts)


def test_ink_can_be_tinted(bank):
    canvas = bank.only(["object"]).picture_B[0] * 0 + pictures.SHADE
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


def test_a_sharpened_decoder_draws_other_pictures_of_the_same_codes(bank, tmp_path):
    config = replace(token_build.ONE, codes=16, channels=8, groups=2)
    torch.manual_seed(0)
    tokenizer = Tokenizer(config)
    assert tokens.train_tokenizer(tokenizer, bank, 5, tmp_path).step == 5
    codes = tokens.codes(tokenizer, bank)
    before = tokenizer.decode(codes[:2])
    assert tokens.sharpen(tokenizer, bank, 2, tmp_path).step == 2
    assert torch.equal(tokens.codes(tokenizer, bank), codes)
    assert not torch.equal(tokenizer.decode(codes[:2]), before)


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
    rows = pictures.rows("test", 30, task="digit")
    asked = [Prompt.ask(mask.DESCRIBE, image(pictures.target(row, tokens.SIZE)), id=row.id) for row in rows]
    batch = MaskedModel().load().rollout(asked, 1, SingleTurn(), MaskedSampling(temperature=0.0), seed=0)
    right = [r.text == row.text for r, row in zip(batch.rollouts, rows)]
    assert sum(right) / len(right) > 0.5
