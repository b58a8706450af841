"""Visual-RFT: rewards that are verified on the picture."""

from __future__ import annotations

import pytest
from by_hand import answered, groups_of, random_model, short_run

from gamutrl.core import Context, Prompt
from gamutrl.recipes.visual_rft import METRIC, NO_OBJECTS, RECIPE
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json

BOXES = [[0, 0, 10, 10], [20, 20, 40, 30]]
TWO = Prompt.ask("Where are they?", answer=BOXES)
NAME = Prompt.ask("What is it?", answer="red circle")


def boxes(*found: tuple[list[int], float]) -> str:
    return answered("", str([{"Position": box, "Confidence": sure} for box, sure in found]))


def rewarded(prompt: Prompt, said: str, preset=RECIPE.tiny) -> dict[str, float]:
    batch = score(preset.stages[-1].rewards, groups_of([prompt], [[said]]), Context())
    return {name: batch.reward(name).item() for name in batch.reward_names}


def test_boxes_are_paid_for_overlap_confidence_and_layout():
    told = rewarded(TWO, boxes((BOXES[0], 0.9), ([20, 20, 40, 28], 0.7)))
    assert told["iou"] == pytest.approx((1 + 0.8) / 2)
    assert told["confidence"] == pytest.approx((0.9 + 0.7) / 2)
    assert told["format"] == 1
    assert told["name"] != told["name"]  # no name was asked for


def test_a_wrong_box_is_paid_for_doubt():
    told = rewarded(TWO, boxes((BOXES[0], 0.9), ([0, 20, 10, 30], 0.2)))
    assert told["iou"] == pytest.approx(1 / 2)
    assert told["confidence"] == pytest.approx((0.9 + 0.8) / 2)


def test_an_object_left_out_costs_in_the_code_and_not_in_the_paper():
    one = boxes((BOXES[0], 1.0))
    assert rewarded(TWO, one)["iou"] == pytest.approx(1 / 2)
    assert rewarded(TWO, one, RECIPE.variants["tiny/paper"])["iou"] == pytest.approx(1)


def test_a_needless_box_costs_in_both():
    needless = boxes((BOXES[0], 1.0), (BOXES[1], 1.0), ([50, 50, 60, 60], 1.0))
    for preset in (RECIPE.tiny, RECIPE.variants["tiny/paper"]):
        assert rewarded(TWO, needless, preset)["iou"] == pytest.approx(2 / 3)


def test_that_nothing_is_there_has_to_be_said():
    nothing = Prompt.ask("Where are they?", answer=NO_OBJECTS)
    assert rewarded(nothing, answered("", NO_OBJECTS))["iou"] == 1
    assert rewarded(nothing, boxes((BOXES[0], 1.0)))["iou"] == 0


@pytest.mark.parametrize(
    ("said", "worth"), [("Red circle", 1), ("circle", 1), ("a red circle", 1), ("blue", 0), ("", 0)]
)
def test_a_name_is_right_where_one_contains_the_other_but_an_empty_one_never(said, worth):
    told = rewarded(NAME, answered("round", said))
    assert told["name"] == worth
    assert told["iou"] != told["iou"]  # no boxes were asked for


def test_an_answer_may_hold_a_line_break_and_a_first_y_that_agrees_is_not_enough():
    assert rewarded(NAME, answered("round", "red circle\n"))["name"] == 1
    assert rewarded(TWO, boxes(([60, 0, 70, 9], 1.0)))["iou"] == 0


def test_accuracy_is_the_share_of_objects_found_or_the_right_name():
    said = [[boxes((BOXES[0], 1.0))], [answered("", "red circle")]]
    assert score((METRIC,), groups_of([TWO, NAME], said), Context()).reward("accuracy").tolist() == [0.5, 1]


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/iou", "reward/confidence", "reward/format", "kl"} <= set(lines[0])
