"""Flow-DPPO: steps are held by their exact KL, not by a clip."""

from __future__ import annotations

import math

import pytest
import torch
from blob_runs import prepared, short_run, small, untrained

from gamutrl.recipes.flow_dppo import RECIPE, HeldByKL
from gamutrl.training.config import from_json, to_json
from gamutrl.training.flow import MEAN


def test_three_steps_of_the_first_half_draw_noise_and_others_later():
    windows = set()
    for step in range(6):
        batch, _ = prepared(small(RECIPE.tiny, group_size=2), untrained(), step=step)
        trained = tuple(t for t in range(10) if batch.mask_NT[0, t])
        assert (batch.mask_NT == batch.mask_NT[0]).all()
        assert len(trained) == 3
        assert max(trained) < 5
        windows.add(trained)
    assert len(windows) > 1


@pytest.mark.parametrize("threshold", [0.0, 1e-3, math.inf])
def test_a_step_is_held_only_where_it_is_far_and_moves_on(threshold):
    batch, context = prepared(small(RECIPE.tiny, group_size=4), untrained())
    logp_NT, values = untrained(seed=1).log_probs(batch, dict([MEAN]))
    batch = batch.with_(mean_NT=values["mean"])
    terms_NT = HeldByKL(threshold)(logp_NT, batch, context)
    held = 0
    for n, t in batch.mask_NT.nonzero().tolist():
        ratio, advantage = float((logp_NT - batch["logp_old_NT"])[n, t].exp()), float(batch["advantage_NT"][n, t])
        apart = (batch["mean_NT"] - batch["mean_old_NTX"])[n, t].square().mean()
        far = float(apart / (2 * batch["std_NT"][n, t] ** 2)) >= threshold
        onward = (ratio > 1 and advantage > 0) or (ratio < 1 and advantage < 0)
        held += far and onward
        assert float(terms_NT[n, t]) == pytest.approx(0.0 if far and onward else -advantage * ratio, abs=1e-4)
    assert context.metrics["kl/held"] == pytest.approx(held / int(batch.mask_NT.sum()))


def test_unchanged_weights_are_never_held():
    policy = untrained()
    stage = small(RECIPE.tiny, group_size=4, objective=HeldByKL(0.0))
    batch, context = prepared(stage, policy)
    terms_NT, _ = stage.loss(policy, batch, context)
    assert torch.allclose(terms_NT.detach(), -batch["advantage_NT"], atol=1e-5)
    assert context.metrics == {"kl/held": 0.0, "kl/step": 0.0}


def test_two_small_steps(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", group_size=3)
    assert {"kl/held", "kl/step"} <= set(lines[1])
    for preset in (RECIPE.tiny, RECIPE.paper):
        assert to_json(from_json(to_json(preset))) == to_json(preset)
