"""Pref-GRPO: win rates under a judge who sees two at a time."""

from __future__ import annotations

import pytest
import torch
from blob_runs import prepared, short_run, small, untrained
from PIL import Image

from gamutrl.core import Batch, Context, Prompt, Rollout
from gamutrl.recipes.pref_grpo import RECIPE, AskedJudge, EachThenWhitened, NoisyEye, WinRate
from gamutrl.rewards.blobs import BlobScore
from gamutrl.training.config import from_json, to_json


def test_without_noise_the_win_rate_is_the_rank_in_the_group():
    batch, context = prepared(small(RECIPE.tiny, group_size=5), untrained())
    gold_PG = BlobScore("gold")(batch, context).view(2, 5)
    rate_PG = WinRate(NoisyEye(0.0))(batch, context).view(2, 5)
    assert torch.allclose(rate_PG, gold_PG.argsort(1).argsort(1) / 4)


def test_a_noisy_judge_gives_half_a_win_on_average_and_the_same_for_the_same_step():
    batch, context = prepared(small(RECIPE.tiny, group_size=6), untrained())
    rate_R = WinRate(NoisyEye(10.0))(batch, context)
    assert rate_R.view(2, 6).mean(1).tolist() == pytest.approx([0.5, 0.5])
    assert torch.equal(rate_R, WinRate(NoisyEye(10.0))(batch, context))


def test_a_judge_is_asked_about_every_pair_and_no_verdict_is_half_a_win():
    prompt = Prompt.ask("a red cube")
    pictures = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (10, 20, 30)]
    batch = Batch.of([prompt], [Rollout(prompt, [], output=picture) for picture in pictures], [0, 0, 0])

    def brighter(conversations):
        said = []
        for (message,) in conversations:
            one, other, words = message.parts
            assert "「a red cube」" in words.value
            shades = [part.value.getpixel((0, 0))[0] for part in (one, other)]
            winner = 1 if shades[0] > shades[1] else 2
            said.append("hm" if shades == [10, 30] else f"<think>…</think><answer>Image {winner} is better</answer>")
        return said

    rate_R = WinRate(AskedJudge())(batch, Context(responders={"judge": brighter}))
    assert rate_R.tolist() == pytest.approx([0.25, 0.5, 0.75])


def test_summed_advantages_are_whitened_over_the_batch():
    batch, context = prepared(small(RECIPE.tiny, group_size=8), untrained())
    advantage_R = EachThenWhitened()(batch, context)
    assert float(advantage_R.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(advantage_R.std()) == pytest.approx(1.0, abs=0.02)


def test_two_small_steps(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", group_size=3)
    assert lines[0]["reward/win_rate"] == pytest.approx(0.5)
    for preset in (RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()):
        assert to_json(from_json(to_json(preset))) == to_json(preset)
