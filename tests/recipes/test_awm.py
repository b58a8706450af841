"""AWM: minus the matching error of what was sampled, in the log-probability's place."""

from __future__ import annotations

import pytest
import torch
from blob_runs import moved, prepared, short_run, small, untrained

from gamutrl.policies.flow import Corruption
from gamutrl.recipes.awm import RECIPE, AdvantageWeighted
from gamutrl.training.config import from_json, to_json
from gamutrl.training.forward import predictions


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_six_levels_one_of_each_part_of_the_path_the_same_for_all():
    batch, _ = prepared(small(RECIPE.tiny, group_size=2), untrained())
    assert batch["level_NL"].shape == (4, 6)
    assert torch.equal(batch["level_NL"][0], batch["level_NL"][3])
    assert (batch["level_NL"][0].diff() < 0).all()
    assert not torch.allclose(batch["noise_NL"][0], batch["noise_NL"][1])


@pytest.mark.parametrize("objective", [AdvantageWeighted(), AdvantageWeighted("uniform")])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_good_samples_are_matched_and_bad_ones_unmatched(objective, sign):
    policy = untrained()
    batch, context = prepared(small(RECIPE.tiny, group_size=2), policy)
    batch = batch.with_(advantage_NT=torch.full_like(batch["advantage_NT"], sign))
    predicted = predictions(policy, batch).detach().requires_grad_()
    objective(predicted, batch, context).sum().backward()
    towards = policy.target(policy.outputs(batch), Corruption.of(batch)) - predicted.detach()
    assert torch.sign(-(predicted.grad * towards).sum()) == sign


def test_without_advantage_there_are_only_the_pulls():
    policy = untrained()
    batch, context = prepared(small(RECIPE.tiny, group_size=2), policy)
    moved(policy)
    batch = batch.with_(advantage_NT=torch.zeros_like(batch["advantage_NT"]))
    predicted = predictions(policy, batch).detach()
    terms_NT = AdvantageWeighted(pull=0.25, pull_old=0.5)(predicted, batch, context)
    by_hand = 0.75 * (predicted - batch["predicted_base_NT"]).square().mean(-1)
    assert torch.allclose(terms_NT, by_hand, rtol=1e-4)


def test_a_short_run_writes_its_reward(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", group_size=4)
    assert all(line["grad_norm"] > 0 and "reward/gold" in line for line in lines)
