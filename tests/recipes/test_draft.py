"""DRaFT and AlignProp: the reward's gradient through the last steps."""

from __future__ import annotations

import pytest
import torch
from blob_runs import short_run

from gamutrl.core import Context
from gamutrl.recipes.draft import RECIPE, Toward
from gamutrl.training.config import from_json, to_json
from gamutrl.training.direct import LastSteps


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_a_target_out_of_reach_is_ascent():
    reward_R = torch.tensor([4.0, 6.0], requires_grad=True)
    Toward()(reward_R, None, Context()).sum().backward()
    assert reward_R.grad.tolist() == pytest.approx([-0.01, -0.01])


def test_the_code_draws_how_many_steps_and_the_paper_says_one():
    sample = RECIPE.tiny.stages[-1].sample
    generator = torch.Generator().manual_seed(0)
    drawn = {sample.first(10, generator) for _ in range(200)}
    assert drawn <= set(range(1, 10))
    assert {7, 8, 9} <= drawn
    assert RECIPE.preset("tiny", "paper").stages[-1].sample == LastSteps(1)


def test_a_short_run_climbs_the_reward_itself(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run")
    assert [line["stage"] for line in lines] == ["direct", "direct"]
    assert all(line["loss"] == pytest.approx(-line["reward/gold"]) for line in lines)
    assert all(line["grad_norm"] > 0 for line in lines)
    assert {"gold", "proxy"} <= {run.summary["after"]["metric"], *run.summary["others"]["after"]}
