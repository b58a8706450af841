"""SPO: at every step the best and the worst of several candidates, from one parent."""

from __future__ import annotations

import pytest
import torch
from blob_runs import prepared, short_run, small, untrained

from gamutrl.recipes.spo import RECIPE, StepByStep
from gamutrl.training.config import from_json, to_json


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def pairs(**settings):
    stage = small(RECIPE.tiny, rollout=StepByStep(**{"first": 2, "candidates": 3, "clear": -1.0, **settings}))
    return prepared(stage, untrained("epsilon"))


def test_the_two_of_a_pair_have_one_parent_and_the_better_one_scored_more():
    batch, context = pairs()
    assert batch.group_R.tolist() == [g for g in range(len(batch.rollouts) // 2) for _ in range(2)]
    assert context.metrics["pairs/clear"] == 1
    for better, worse in zip(batch.rollouts[0::2], batch.rollouts[1::2]):
        (won,), (lost,) = better.turns, worse.turns
        assert won.step == lost.step >= 2
        assert torch.equal(won.latent, lost.latent)
        assert won is lost or not torch.equal(won.following, lost.following)
    assert (batch["label_R"][0::2] >= batch["label_R"][1::2]).all()


def test_a_path_goes_on_from_one_of_its_candidates():
    batch, _ = pairs()
    by_step = {}
    for rollout in batch.rollouts:
        by_step.setdefault((rollout.prompt.id, rollout.turns[0].step), rollout.turns[0].latent)
    steps = sorted({step for _, step in by_step})
    assert steps[0] == 2
    assert all(not torch.equal(by_step[name, step], by_step[name, steps[0]]) for name, step in by_step if step > 2)


def test_unclear_pairs_are_left_out_but_for_the_clearest():
    batch, context = pairs(clear=2.0)
    assert len(batch.rollouts) == 2
    assert 0 < context.metrics["pairs/clear"] < 1


def test_a_short_run_starts_at_log_2(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run")
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert lines[0]["grad_norm"] > 0
