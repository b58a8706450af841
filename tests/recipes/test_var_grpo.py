"""VAR-GRPO: token maps as actions, a style as reward."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from by_hand import short_run
from PIL import Image

from gamutrl.core import Batch, Context, Prompt, Rollout, Turn
from gamutrl.data.worlds import pictures, render
from gamutrl.policies.next_scale import NextScale, TokenizerConfig, TransformerConfig
from gamutrl.recipes.var_grpo import RECIPE, Palette, ScaleWeights
from gamutrl.rewards.digits import WEIGHTS
from gamutrl.rewards.shown import DigitShown
from gamutrl.training.config import from_json, to_json
from gamutrl.zoo.tokens import tinted


def shown(*canvases: np.ndarray | None, ask: int = 3) -> Batch:
    prompt = Prompt.ask(f"the digit {ask}", id="digit", objects=[str(ask)])
    rollouts = [
        Rollout(
            prompt, [Turn("", "", torch.zeros(50), torch.zeros(50))], output=None if c is None else Image.fromarray(c)
        )
        for c in canvases
    ]
    return Batch.of([prompt], rollouts, [0] * len(rollouts))


def digit(number: int, colour: str | None = None) -> np.ndarray:
    row = next(row for row in pictures.rows("test", 60, task="digit") if row.columns["objects"] == [str(number)])
    canvas = pictures.draw(row.columns["facts"], 30)
    return canvas if colour is None else tinted(canvas, render.COLOURS[colour])


def test_a_style_is_the_share_of_ink_of_its_colour():
    batch = shown(digit(3), digit(3, "yellow"), digit(3, "blue"), np.full((30, 30, 3), 24, np.uint8), None)
    white, yellow, blue, empty, none = Palette()(batch, Context()).tolist()
    assert white == pytest.approx(0, abs=0.02)
    assert yellow > 0.9
    assert blue == pytest.approx(0, abs=0.02)
    assert empty == none == 0
    half = digit(3)
    half[:15] = digit(3, "yellow")[:15]
    assert 0.2 < Palette()(shown(half), Context()).item() < 0.8


reads_digits = pytest.mark.skipif(not WEIGHTS.is_file(), reason="the reader of digits is not trained yet")


@reads_digits
def test_the_style_of_a_wrong_digit_does_not_count():
    styled = Palette(times=(DigitShown(certain=True),))
    right, wrong = styled(shown(digit(3, "yellow"), digit(8, "yellow"), ask=3), Context()).tolist()
    assert right > 0.8
    assert wrong == 0


def test_every_scale_has_the_same_share_of_the_loss():
    batch = shown(digit(1), digit(2))
    weight_NT = ScaleWeights()(batch)
    assert weight_NT.sum().item() == pytest.approx(1)
    assert [part.sum().item() for part in weight_NT.split([1, 4, 9, 36], 1)] == pytest.approx([0.25] * 4)
    coarse = ScaleWeights(shares=(3, 1, 0, 0))(batch)
    assert [part.sum().item() for part in coarse.split([1, 4, 9, 36], 1)] == pytest.approx([0.75, 0.25, 0, 0])


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


@reads_digits
def test_two_steps_on_a_random_model(tmp_path: Path):
    torch.manual_seed(0)
    tokens = TokenizerConfig(
        scales=(1, 2), codes=16, latent=4, channels=8, multipliers=(1,), blocks=1, groups=2, patch=8
    )
    transformer = TransformerConfig(depth=1, width=16, heads=2, words=pictures.WORDS, text_length=14, text_depth=1)
    NextScale(tokens, transformer).save(tmp_path / "model")
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", tmp_path / "model", updates_per_batch=2)
    assert len(lines) == 2
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert lines[0]["length/mean"] == 5
    assert lines[0]["ratio/mean"] == pytest.approx(1, abs=0.2)
    assert run.summary["after"]["metric"] == "styled"
