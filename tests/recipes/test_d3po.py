"""D3PO: which of two paths from one noise is better, at every step."""

from __future__ import annotations

import math

import pytest
import torch
from blob_runs import moved, prepared, short_run, small, untrained

from gamutrl.recipes.d3po import RECIPE
from gamutrl.training.config import from_json, to_json


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_paths_begin_at_one_noise_and_the_first_steps_are_trained():
    batch, _ = prepared(small(RECIPE.tiny), untrained())
    first, second = (batch.rollouts[r].turns[0].latent for r in (0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(batch.rollouts[0].turns[1].latent, batch.rollouts[1].turns[1].latent)
    assert all(on_T.nonzero().flatten().tolist() == [0, 1, 2, 3] for on_T in batch.mask_NT)


def test_the_loss_is_dpos_at_every_step_with_clamped_ratios_by_hand():
    policy = untrained()
    stage = small(RECIPE.tiny, objective=RECIPE.paper.stages[0].objective)
    batch, context = prepared(stage, policy)
    terms_NT, _ = stage.loss(policy, batch, context)
    assert terms_NT[batch.mask_NT].tolist() == pytest.approx([math.log(2)] * int(batch.mask_NT.sum()), rel=1e-5)

    moved(policy, 0.02)
    terms_NT, _ = stage.loss(policy, batch, context)
    ratio_NT = (policy.log_probs(batch) - batch["logp_base_NT"]).exp().clamp(0.9, 1.1)  # 1 ± the paper's 0.1
    better, worse = (0, 1) if batch["reward_R"][0] > batch["reward_R"][1] else (1, 0)
    by_hand = -torch.nn.functional.logsigmoid(0.1 * (ratio_NT[better].log() - ratio_NT[worse].log()))
    on = batch.mask_NT[0]
    assert torch.allclose(terms_NT[0][on], by_hand[on], rtol=1e-5)


def test_a_tie_teaches_nothing():
    policy = untrained()
    stage = small(RECIPE.tiny)
    batch, context = prepared(stage, policy)
    terms_NT, _ = stage.loss(policy, batch.with_(label_R=torch.ones(4)), context)
    assert torch.equal(terms_NT, torch.zeros_like(terms_NT))


def test_a_short_run_learns_from_the_order_alone(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run")
    assert all(line["grad_norm"] > 0 for line in lines)
