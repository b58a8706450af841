"""GRPO-Guard: ratios of one centre and spread at every step, losses over dt."""

from __future__ import annotations

import pytest
import torch
from blob_runs import prepared, short_run, small, untrained

from gamutrl.recipes.grpo_guard import RECIPE
from gamutrl.training.config import from_json, to_json
from gamutrl.training.flow import MEAN, NormalizedSurrogate


def moved(shared_drift: bool = False):
    """A batch of one policy, and the terms of another with its log-probabilities and means."""
    batch, context = prepared(small(RECIPE.tiny, group_size=3), untrained())
    logp_NT, values = untrained(seed=1).log_probs(batch, dict([MEAN]))
    batch = batch.with_(mean_NT=values["mean"])
    return batch, logp_NT, NormalizedSurrogate(10.0, shared_drift)(logp_NT, batch, context)


@pytest.mark.parametrize("shared_drift", [False, True])
def test_the_ratio_is_centred_scaled_and_divided_by_dt(shared_drift):
    batch, logp_NT, terms_NT = moved(shared_drift)
    n, t = 2, 3
    std, dt = float(batch["std_NT"][n, t]), float(batch["level_NT"][n, t] - batch["level_next_NT"][n, t])
    drift_N = (batch["mean_NT"] - batch["mean_old_NTX"])[:, t].square().mean(1) / (2 * std**2)
    drift = drift_N.mean() if shared_drift else drift_N[n]
    ratio = ((logp_NT - batch["logp_old_NT"])[n, t] + drift) * std
    by_hand = -batch["advantage_NT"][n, t] * ratio.exp() / dt
    assert float(terms_NT[n, t]) == pytest.approx(float(by_hand), rel=1e-3)
    assert (terms_NT[:, 9] == 0).all()


def test_normalised_ratios_are_centred_where_plain_ones_are_not():
    """A step of a Gaussian that has moved: the plain log-ratio falls by the drift, the normalised one does not."""
    batch, logp_NT, _ = moved()
    on = batch.mask_NT
    plain = (logp_NT - batch["logp_old_NT"])[on]
    std = batch["std_NT"][on]
    drift = (batch["mean_NT"] - batch["mean_old_NTX"])[on].square().mean(1) / (2 * std**2)
    assert plain.mean() < -0.5 * drift.mean()
    assert (plain + drift).mean().abs() < 0.3 * drift.mean()


def test_before_the_first_update_the_loss_is_the_advantage_over_dt():
    policy = untrained()
    stage = small(RECIPE.tiny, group_size=3)
    batch, context = prepared(stage, policy)
    terms_NT, measured = stage.loss(policy, batch, context)
    dt_NT = batch["level_NT"] - batch["level_next_NT"]
    assert torch.allclose(terms_NT.detach(), -batch["advantage_NT"] / dt_NT * batch.mask_NT, atol=1e-3)
    assert measured["ratio/mean"] == pytest.approx(1.0, abs=1e-6)


def test_two_small_steps(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", group_size=3)
    assert "reward/proxy" in lines[1]
    assert run.summary["after"]["metric"] == "gold"
    for preset in (RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()):
        assert to_json(from_json(to_json(preset))) == to_json(preset)
