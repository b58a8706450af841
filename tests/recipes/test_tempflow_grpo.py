"""TempFlow-GRPO: branches off an ODE trunk, compared step by step, weighed by their noise."""

from __future__ import annotations

import pytest
import torch
from blob_runs import prepared, short_run, small, untrained

from gamutrl.core import Context
from gamutrl.recipes.tempflow_grpo import RECIPE, NoiseWeighted
from gamutrl.training.config import from_json, to_json
from gamutrl.training.defaults import keep_all


@pytest.fixture(scope="module")
def batch():
    return prepared(small(RECIPE.tiny, select=keep_all), untrained())[0]


def test_each_branch_trains_the_one_step_at_which_it_parts(batch):
    assert len(batch.rollouts) == 2 * 2 * 4 * 5  # prompts, trunks, children, steps but the last
    assert RECIPE.tiny.stages[-1].rollouts_per_step == 8 * 2 * 4 * 5
    assert (batch.mask_NT.sum(1) == 1).all()
    for rollout, mask in zip(batch.rollouts, batch.mask_NT):
        assert [turn.std > 0 for turn in rollout.turns] == mask.tolist()


def test_a_group_is_what_branches_off_one_step_of_a_prompt(batch):
    step_N = batch.mask_NT.int().argmax(1)
    for group in batch.group_R.unique():
        members = batch.group_R == group
        assert int(members.sum()) == 2 * 4
        assert len(step_N[members].unique()) == 1
        assert len(batch.prompt_R[members].unique()) == 1


def test_children_of_one_trunk_start_from_one_latent(batch):
    step = int(batch.mask_NT[0].int().argmax())
    before = [batch.rollouts[r].turns[step].latent for r in range(8)]
    assert all(torch.equal(latent, before[0]) for latent in before[:4])
    assert not torch.equal(before[0], before[4])
    after = torch.stack([batch.rollouts[r].turns[step].following for r in range(4)])
    assert len(after.unique(dim=0)) == 4


def test_advantages_compare_a_step_with_itself(batch):
    group = batch.group_R == batch.group_R[0]
    reward_R = batch["reward_R"][group].double()
    by_hand = ((reward_R - reward_R.mean()) / (reward_R.std(correction=0) + 1e-4)).clamp(-5, 5)
    assert torch.allclose(batch["advantage_NT"][group].sum(1).double(), by_hand, atol=1e-4)


def test_a_term_weighs_as_much_as_the_noise_of_its_step(batch):
    terms_NT = NoiseWeighted(scale=2.0)(batch.logp_sampled_NT, batch, Context())
    assert torch.allclose(terms_NT, -2 * batch["std_NT"] * batch["advantage_NT"], atol=1e-5)


def test_two_small_steps(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run")
    assert "kl" in lines[1]
    for preset in (RECIPE.tiny, RECIPE.paper):
        assert to_json(from_json(to_json(preset))) == to_json(preset)
