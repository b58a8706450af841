"""DiffusionNFT: an implicit good and an implicit bad velocity learn to denoise what was sampled."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from blob_runs import moved, prepared, short_run, small, untrained

from gamutrl.core import Context
from gamutrl.recipes.diffusionnft import RECIPE, NegativeAware
from gamutrl.training.config import from_json, to_json
from gamutrl.training.forward import predictions


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def one_batch(policy, **changes):
    return prepared(small(RECIPE.tiny, group_size=4, **changes), policy)


def test_rollouts_are_the_lagging_copy_s_and_each_is_noised_at_levels_of_the_sampler():
    policy = untrained()
    policy.keep_reference("old")
    stage = small(RECIPE.tiny, group_size=2)
    with torch.no_grad():
        before = stage.rollout(stage, stage.data.batch(0, 2, 0), Context(models={"policy": policy}))
        after = stage.rollout(stage, stage.data.batch(0, 2, 0), Context(models={"policy": moved(policy)}))
    latents = [torch.stack([rollout.info["latent"] for rollout in batch.rollouts]) for batch in (before, after)]
    assert torch.equal(*latents)
    batch, _ = one_batch(untrained())
    assert batch.mask_NT.shape == (8, 9)
    assert batch.mask_NT.all()
    assert all(len(set(levels)) == 9 for levels in batch["level_NL"].tolist())


def test_a_middling_sample_pulls_nowhere_while_the_policy_is_the_one_that_sampled():
    policy = untrained()
    batch, context = one_batch(policy)
    batch = batch.with_(advantage_NT=torch.zeros_like(batch["advantage_NT"]))
    NegativeAware(pull=0.0)(predictions(policy, batch), batch, context).sum().backward()
    assert all(parameter.grad.abs().max() < 1e-4 for parameter in policy.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("beta", [1.0, 0.1])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_good_samples_are_matched_and_bad_ones_left(beta, sign):
    """A step down the loss moves the predictions towards or away from what would denoise the sample."""
    policy = untrained()
    batch, context = one_batch(policy)
    batch = batch.with_(advantage_NT=torch.full_like(batch["advantage_NT"], 5 * sign))
    predicted = predictions(policy, batch).detach().requires_grad_()
    NegativeAware(beta)(predicted, batch, context).sum().backward()
    towards = policy.target(policy.outputs(batch), _corruption(batch)) - predicted.detach()
    assert torch.sign(-(predicted.grad * towards).sum()) == sign


def test_the_pull_is_to_the_base():
    policy = untrained()
    batch, context = one_batch(policy)
    moved(policy)
    predicted = predictions(policy, batch).detach()
    terms = [NegativeAware(pull=pull)(predicted, batch, context) for pull in (0.0, 1.0)]
    apart_NT = (predicted - batch["predicted_base_NT"]).square().mean(-1)
    assert torch.allclose(terms[1] - terms[0], apart_NT, rtol=1e-3, atol=1e-5)


def test_a_short_run_lets_the_sampler_lag(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", group_size=4)
    assert all(line["grad_norm"] > 0 for line in lines)
    assert run.summary["steps"] == 2
    lagging, base = RECIPE.tiny.stages[0].references
    policy = untrained()
    policy.keep_reference("old")
    start = {name: tensor.clone() for name, tensor in policy.references.copies["old"].items()}
    moved(policy)
    lagging.follow(policy, Context(step=249))
    name, parameter = next(iter(policy.module.named_parameters()))
    assert torch.allclose(policy.references.copies["old"][name], 0.25 * start[name] + 0.75 * parameter, atol=1e-6)
    assert replace(base, every=0) == base


def _corruption(batch):
    from gamutrl.policies.flow import Corruption

    return Corruption.of(batch)
