"""Diffusion-DPO: DPO on denoising errors that winner and loser are asked for alike."""

from __future__ import annotations

import pytest
import torch
from blob_runs import answered, moved, short_run, small, untrained

from gamutrl.core import Prompt
from gamutrl.recipes.diffusion_dpo import IMITATED, RECIPE, WithoutWords
from gamutrl.training.config import from_json, to_json
from gamutrl.training.forward import Noised, Uniform


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, IMITATED])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_the_paper_s_beta_is_half_of_it_in_the_likelihood():
    stage = RECIPE.paper.stages[0]
    assert (stage.objective.beta, stage.likelihood.scale) == (5000.0, 0.5)


def test_sharing_noise_makes_the_loss_vary_less():
    def spread(shared: bool) -> float:
        policy = untrained("epsilon")
        stage = small(RECIPE.tiny, prepare=Noised(Uniform(16), shared=shared))
        batch, context = answered(stage, policy, 16)
        terms_NT, _ = stage.loss(moved(policy), batch, context)
        return float(terms_NT.std())

    assert spread(True) < 0.8 * spread(False)


def test_a_fifth_of_the_captions_is_dropped():
    prompts = [WithoutWords()(Prompt.ask("a cat"), seed * 7919 % 2**32) for seed in range(2000)]
    assert sum(not prompt.text for prompt in prompts) / 2000 == pytest.approx(0.2, abs=0.03)


def test_a_short_run_starts_at_log_2(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run")
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert lines[0]["grad_norm"] > 0
    assert {"pairs/right", "gain/better", "gain/worse"} <= set(lines[0])


def test_the_baseline_learns_the_winners_alone():
    policy = untrained("epsilon")
    stage = small(IMITATED)
    batch, context = answered(stage, policy)
    terms_NT, _ = stage.loss(policy, batch, context)
    assert (terms_NT[0::2] > 0).all()
    assert torch.equal(terms_NT[1::2], torch.zeros_like(terms_NT[1::2]))
