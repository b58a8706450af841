"""Diffusion-KTO: likes and dislikes, one by one, felt through a utility that saturates."""

from __future__ import annotations

import pytest
import torch
from blob_runs import answered, moved, short_run, small, untrained

from gamutrl.core import Prompt
from gamutrl.data.sources import InMemory
from gamutrl.recipes.diffusion_kto import RECIPE, Balanced, Utility
from gamutrl.training.config import from_json, to_json


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_likes_are_drawn_as_often_as_is_said_however_rare_they_are():
    rows = InMemory([Prompt.ask("?", id=str(i), liked=i % 10 == 0) for i in range(200)])
    drawn = Balanced(rows, liked=0.8).batch(3, 2000, seed=1)
    assert sum(row.columns["liked"] for row in drawn) / 2000 == pytest.approx(0.8, abs=0.03)
    again = Balanced(rows, liked=0.8).batch(3, 2000, seed=1)
    assert [row.id for row in again] == [row.id for row in drawn]


def test_the_point_is_the_batch_s_mean_gain_and_never_negative():
    policy = untrained("epsilon")
    stage = small(RECIPE.tiny)
    batch, _ = answered(stage, policy, 8)
    assert torch.equal(batch["point_NT"], torch.zeros_like(batch["point_NT"]))
    policy.keep_reference("base")
    moved(policy)
    with policy.reference("base"):
        base_NT = stage.likelihood(policy, batch)
    gain_NT = stage.likelihood(policy, batch) - base_NT
    from gamutrl.core import Context

    again = stage.prepare(stage, batch, Context(models={"policy": policy}))
    assert float(again["point_NT"][0, 0]) >= 0
    assert gain_NT.isfinite().all()


def test_the_loss_is_one_half_at_first_and_falls_as_likes_gain():
    policy = untrained("epsilon")
    stage = small(RECIPE.tiny)
    batch, context = answered(stage, policy, 8)
    base_NT = batch["logp_base_NT"]
    assert torch.allclose(Utility()(base_NT, batch, context), torch.full_like(base_NT, 0.5))
    liked_N1 = (batch["label_R"] > 0)[:, None]
    gained = torch.where(liked_N1, base_NT + 0.01, base_NT - 0.01)
    terms_NT = Utility(beta=100.0)(gained, batch, context)
    assert torch.allclose(terms_NT, torch.full_like(terms_NT, 1 - float(torch.tensor(1.0).sigmoid())), atol=1e-5)
    far = (base_NT + 10).requires_grad_()
    Utility()(far, batch, context).sum().backward()
    assert float(far.grad.abs().max()) < 1e-6, "beyond doubt, nothing is learned"


def test_a_short_run_starts_at_one_half(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run")
    assert lines[0]["loss"] == pytest.approx(0.5, abs=1e-4)
