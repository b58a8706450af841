"""Flow-GRPO: an SDE that can be learned from, advantages over the batch's deviation, an exact KL."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from blob_runs import prepared, short_run, small, untrained

from gamutrl.cli.compare import under_equal_conditions
from gamutrl.recipes.flow_grpo import RECIPE
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import load
from gamutrl.report import write_report
from gamutrl.training.config import from_json, to_json
from gamutrl.training.flow import MEAN, GaussianKL
from gamutrl.training.run import resume, train
from gamutrl.training.session import Stopped


def test_rollouts_differ_by_noise_at_every_step_and_the_first_are_trained():
    batch, _ = prepared(small(RECIPE.tiny, group_size=3), untrained())
    assert batch.mask_NT.tolist() == [[True] * 4 + [False] * 6] * 6
    assert RECIPE.paper.stages[-1].sampling.trained == tuple(range(9))
    assert all(turn.std > 0 for turn in batch.rollouts[0].turns)
    latents = torch.stack([rollout.info["latent"] for rollout in batch.rollouts])
    assert len(latents.unique(dim=0)) == 6


def test_advantages_are_divided_by_the_deviation_of_all_rewards():
    batch, _ = prepared(small(RECIPE.tiny, group_size=4), untrained())
    reward_PG = batch["reward_R"].view(2, 4).double()
    by_hand = (reward_PG - reward_PG.mean(1, keepdim=True)) / (reward_PG.std(correction=0) + 1e-4)
    assert torch.allclose(batch["advantage_NT"][:, 0].double(), by_hand.flatten(), atol=1e-5)


@pytest.mark.parametrize("whole_step", [False, True])
def test_the_kl_is_that_of_two_gaussians_with_or_without_dt(whole_step):
    policy, moved = untrained(), untrained(seed=1)
    kl = GaussianKL(1.0, whole_step=whole_step)
    batch, _ = prepared(small(RECIPE.tiny, group_size=2, kl=kl), policy)
    logp_NT, values = moved.log_probs(batch, dict([MEAN]))
    terms_NT = kl.terms(logp_NT, batch.with_(mean_NT=values["mean"])).detach()
    n, t = 1, 3
    sigma, sigma_next = float(batch["level_NT"][n, t]), float(batch["level_next_NT"][n, t])
    deviation = 0.7 * (sigma / (1 - sigma)) ** 0.5
    if whole_step:
        deviation *= (sigma - sigma_next) ** 0.5
    own, reference = values["mean"][n, t].detach(), batch["mean_base_NTX"][n, t]
    assert float(terms_NT[n, t]) == pytest.approx(
        float((own - reference).square().mean()) / (2 * deviation**2), rel=1e-4
    )
    assert (terms_NT[:, 9] == 0).all()


def test_before_the_first_update_every_ratio_is_1_and_the_kl_is_0():
    policy = untrained()
    stage = small(RECIPE.tiny, group_size=4, minibatches=2)
    batch, context = prepared(stage, policy)
    terms_NT, measured = stage.loss(policy, batch, context)
    assert measured["ratio/mean"] == pytest.approx(1.0, abs=1e-6)
    assert measured["kl"] == pytest.approx(0.0, abs=1e-8)
    assert torch.allclose(terms_NT.detach(), -batch["advantage_NT"], atol=1e-5)


def test_a_run_is_the_same_whether_or_not_it_was_stopped(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "whole", group_size=2)
    assert {"kl", "reward/gold"} <= set(lines[0])
    assert "constant" not in run.summary
    whole = run.summary["after"]["value"]
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    preset = replace(from_json(config["preset"]), save_every=1)

    class StopAfterOne:
        def begin(self, *a): ...
        def message(self, *a): ...
        def close(self): ...
        def step(self, metrics):
            raise Stopped(15, tmp_path)

    with pytest.raises(Stopped):
        train(preset, tmp_path / "stopped", watchers=[StopAfterOne()])
    assert resume(tmp_path / "stopped").summary["after"]["value"] == whole
    shown = json.loads((tmp_path / "stopped" / "evaluation" / "after.json").read_text())["rows"][0]["rollout"]
    assert (tmp_path / "stopped" / shown["pictures"][0]).exists()


def test_presets_can_be_written_down():
    for preset in (RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()):
        assert to_json(from_json(to_json(preset))) == to_json(preset)


def test_plain_grpo_can_be_compared_with_on_this_task():
    """Made for text, it takes the task's sampling, rewards and optimizer, and as many rollouts."""
    given = RECIPE.tiny.stages[-1]
    own = under_equal_conditions(load("grpo").tiny, RECIPE.tiny).stages[-1]
    assert (own.sampling, own.rewards, own.optimizer) == (given.sampling, given.rewards, given.optimizer)
    assert own.steps * own.rollouts_per_step == given.steps * given.rollouts_per_step
    assert own.kl.weight > 0
    assert not isinstance(own.kl, GaussianKL)


@pytest.mark.parametrize("slug", ["flow-grpo", "ddpo", "diffusionnft"])
def test_its_variant_on_pictures_draws_before_and_after(slug, tmp_path):
    preset = with_stage(load(slug).preset("tiny", "pictures"), steps=1, prompts_per_step=2)
    run = train(replace(preset, evaluation=replace(preset.evaluation, rows=4)), tmp_path / "run")
    assert set(run.summary["before"]) == set(run.summary["after"])
    report = write_report(run.folder).read_text()
    assert report.count("data:image/png") >= 8
