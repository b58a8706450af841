"""DPOK: a learned value as the baseline, a hard clamp, a pull to the base's predictions."""

from __future__ import annotations

import copy

import pytest
import torch
from blob_runs import moved, prepared, short_run, small, untrained

from gamutrl.core import Context
from gamutrl.recipes.dpok import RECIPE, Clamped, OverValue
from gamutrl.training import checkpoint
from gamutrl.training.config import from_json, to_json


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def batch_of(advantage: OverValue, policy):
    return prepared(small(RECIPE.tiny, prompts_per_step=8, advantage=advantage), policy)


def test_the_value_learns_what_latents_are_worth():
    advantage = OverValue(lr=1e-2, width=32)
    batch, context = batch_of(advantage, untrained())
    batch = batch.with_(reward_R=torch.full((8,), 3.0))
    for _ in range(60):
        over_NT = advantage(batch, context)
    assert context.metrics["value/error"] < 0.1
    assert over_NT[batch.mask_NT].abs().mean() < 0.5


def test_what_the_value_has_learned_is_saved_with_the_run():
    advantage = OverValue(lr=1e-2, width=16)
    batch, _ = batch_of(advantage, untrained())
    tensors, skeleton = checkpoint.pack(advantage.state_dict())
    restored = OverValue(lr=1e-2, width=16)
    written = {name: tensor.clone() for name, tensor in tensors.items()}
    restored.load_state_dict(checkpoint.unpack(written, copy.deepcopy(skeleton)))
    assert torch.equal(advantage(batch, Context()), restored(batch, Context()))


def test_a_step_that_has_moved_is_left_alone_and_the_pull_is_to_the_base():
    policy = untrained()
    stage = small(RECIPE.tiny, prompts_per_step=4, minibatches=2, objective=Clamped(pull=0.0))
    batch, context = prepared(stage, policy)
    terms_NT, _ = stage.loss(policy, batch, context)
    assert torch.allclose(terms_NT.detach(), -10 * batch["advantage_NT"], rtol=1e-4, atol=1e-5)
    moved(policy, 0.2)
    terms_NT, _ = stage.loss(policy, batch, context)
    outside = (policy.log_probs(batch) - batch["logp_old_NT"]).exp().sub(1).abs() > 1e-4
    assert outside[batch.mask_NT].float().mean() > 0.9
    (terms_NT * (outside & batch.mask_NT)).sum().backward()
    assert all(float(p.grad.abs().max()) == 0 for p in policy.parameters() if p.grad is not None)

    stage = small(RECIPE.tiny, prompts_per_step=4, objective=Clamped(scale=0.0, pull=1.0))
    terms_NT, _ = stage.loss(policy, batch, context)
    assert (terms_NT[batch.mask_NT] > 0).all()


def test_a_short_run_tells_how_well_the_value_fits(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", prompts_per_step=4)
    assert all("value/error" in line and line["grad_norm"] > 0 for line in lines)
