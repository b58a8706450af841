"""Active-O3: regions proposed in one step are paid for what good ones share and for what is found in them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from by_hand import answered, groups_of, random_model, short_run

from gamutrl.core import Context
from gamutrl.data.worlds import clutter
from gamutrl.recipes.active_o3 import FORMS, RECALL, RECIPE, layout, true_boxes
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json

LEFT = [0, 0, 0.5, 1]


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (answered("so", '[{"bbox_2d": [0, 0, 9, 9]}]'), 1),
        (answered('{"bbox_2d": [0, 0, 9, 9]}', "there"), 0),
        ('[{"bbox_2d": [0, 0, 9, 9]}]', 0),
        (answered("so", "[0, 0, 9, 9]"), 0),
    ],
)
def test_the_layout_asks_for_boxes_as_json_in_the_answer(said, value):
    assert layout(said) == value


def test_regions_over_all_targets_earn_everything_and_none_earn_nothing():
    rows = RECIPE.tiny.evaluation.prompts()[:6]
    batch = groups_of(rows, [[clutter.demonstrate(row), "nowhere"] for row in rows])
    table = score((RECALL, *FORMS), batch, Context())["reward_RK"]
    assert table[::2, [0, 1, 4]].eq(1).all()
    assert table[1::2].eq(0).all()


def test_what_was_seen_in_the_rollout_is_not_seen_again():
    (row,) = RECIPE.tiny.evaluation.prompts()[:1]
    batch = groups_of([row], [["nowhere"]])
    turn, target = batch.rollouts[0].turns[0], true_boxes(row)[0]
    info = {"regions": [LEFT], "found": [{"bbox_2d": target, "label": "x", "score": 1.0}]}
    batch.rollouts[0].turns[0] = replace(turn, info=info)
    assert score((RECALL,), batch, Context()).reward("recall").item() == pytest.approx(1 / len(row.columns["targets"]))


def test_the_ablation_is_paid_for_the_task_alone():
    assert [reward.name for reward in RECIPE.variants["tiny/ablation"].stages[0].rewards] == ["task"]


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {f"reward/{reward.name}" for reward in FORMS} <= set(lines[0])
