"""DanceGRPO: one first noise a group, a share of the steps, a head a reward."""

from __future__ import annotations

import pytest
import torch
from blob_runs import prepared, short_run, small, untrained

from gamutrl.core import Context
from gamutrl.recipes.dancegrpo import RECIPE, Chosen, ClippedHeads, heads
from gamutrl.training.config import from_json, to_json


def test_a_group_starts_from_one_noise_and_its_last_step_is_deterministic():
    batch, _ = prepared(small(RECIPE.tiny, group_size=3), untrained())
    first = torch.stack([rollout.turns[0].latent for rollout in batch.rollouts])
    assert (first[:3] == first[0]).all()
    assert (first[3:] == first[3]).all()
    assert not torch.equal(first[0], first[3])
    assert all(rollout.turns[9].std == 0 for rollout in batch.rollouts)


def test_each_rollout_trains_its_own_share_of_the_steps():
    batch, _ = prepared(small(RECIPE.tiny, group_size=8), untrained())
    assert batch.mask_NT.sum(1).tolist() == [3] * 16  # 60% of five
    assert len(batch.mask_NT.unique(dim=0)) > 4
    assert not batch.mask_NT[:, 5:].any()


def test_heads_are_normalised_apart():
    batch, _ = prepared(small(RECIPE.tiny, group_size=4), untrained())
    for k in range(2):
        reward_PG = batch["reward_RK"][:, k].view(2, 4).double()
        by_hand = (reward_PG - reward_PG.mean(1, keepdim=True)) / (reward_PG.std(1, keepdim=True) + 1e-8)
        assert torch.allclose(heads(batch)[:, k].double(), by_hand.flatten(), atol=1e-4)


def test_the_best_and_the_worst_of_a_group_can_be_chosen_by_the_sum_of_the_heads():
    stage = small(RECIPE.tiny, group_size=6, select=Chosen(best=4, share=1.0))
    whole, _ = prepared(small(RECIPE.tiny, group_size=6, select=Chosen(share=1.0)), untrained())
    batch, _ = prepared(stage, untrained())
    total = heads(whole).sum(1).view(2, 6).sort(1).values
    kept = batch["advantage_RK"].sum(1).view(2, 4).sort(1).values
    assert torch.allclose(kept, total[:, [0, 1, 4, 5]], atol=1e-5)


def test_every_head_is_clipped_by_its_own_advantage():
    batch, _ = prepared(small(RECIPE.tiny, group_size=2, select=Chosen(share=1.0)), untrained())
    batch = batch.with_(
        advantage_RK=torch.tensor([[1.0, -1.0]] * 4),
        logp_old_NT=torch.zeros(4, 10),
        weight_RK=torch.tensor([[1.0, 2.0]] * 4),
    )
    logp_NT = torch.full((4, 10), 0.01)
    terms_NT = ClippedHeads(1e-4)(logp_NT, batch, Context())
    ratio = torch.tensor(0.01).exp()
    assert terms_NT[0, 0] == pytest.approx(float(-1.0001 + 2 * ratio), abs=1e-6)


def test_two_small_steps(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", group_size=3)
    assert {"reward/mode", "reward/clean"} <= set(lines[1])
    assert "kl" not in lines[1]
    for preset in (RECIPE.tiny, RECIPE.paper):
        assert to_json(from_json(to_json(preset))) == to_json(preset)
