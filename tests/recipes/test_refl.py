"""ReFL: a reward learned from rankings, its gradient through one late step, up to a bound."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from blob_runs import untrained

from gamutrl.core import Context
from gamutrl.policies.scorer import ScorerModel
from gamutrl.recipes.refl import RECIPE, Enough
from gamutrl.training.config import from_json, to_json
from gamutrl.training.run import train


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_what_is_good_enough_has_no_gradient():
    reward_R = torch.tensor([-1.0, 1.5, 2.0, 3.0], requires_grad=True)
    loss_R = Enough()(reward_R, None, Context())
    assert loss_R.tolist() == pytest.approx([3e-3, 5e-4, 0, 0])
    loss_R.sum().backward()
    assert reward_R.grad.tolist() == pytest.approx([-1e-3, -1e-3, 0, 0])


def test_late_means_the_last_quarter_of_the_path():
    for preset in (RECIPE.tiny, RECIPE.paper):
        stage = preset.stages[-1]
        assert (stage.sample.first, stage.sample.last) == (stage.sampling.steps * 3 // 4, stage.sampling.steps - 1)


def test_the_reward_model_is_trained_before_and_not_by_what_follows(tmp_path):
    model = tmp_path / "start"
    untrained().save(model)
    learned = RECIPE.preset("tiny", "paper")
    rm, scale, direct = learned.stages
    rm, scale = replace(rm, steps=2, rows_per_step=4), replace(scale, rows=8)
    stages = (rm, scale, replace(direct, steps=2, prompts_per_step=2))
    preset = replace(learned, stages=stages, evaluation=replace(learned.evaluation, rows=4), save_every=1)
    train(preset.with_model(str(model)), tmp_path / "run")

    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["reward_model"] * 2 + ["standardise"] + ["direct"] * 2
    assert "pairs/right" in lines[0]
    assert all(line["grad_norm"] > 0 for line in lines if line["stage"] == "direct")

    scorer = ScorerModel(size=64).load()
    rows = rm.data.batch(0, 2, 0)
    batch = scorer.demonstrated(rows, [torch.ones(64, requires_grad=True) for _ in rows])
    scorer.standardised(batch).sum().backward()
    assert all(parameter.grad is None for parameter in scorer.parameters())
    assert batch.rollouts[0].output.grad.abs().sum() > 0
