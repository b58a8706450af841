"""VLM-R1: one box is worth its IoU, all boxes their AP, and needless boxes cost."""

from __future__ import annotations

import pytest
from by_hand import answered, groups_of, random_model, short_run

from gamutrl.core import Context, Prompt
from gamutrl.recipes.vlm_r1 import AP, FORMAT, IOU, METRIC, RECIPE, RELEASED, one_box
from gamutrl.rewards.table import score, weighted_sum
from gamutrl.training.config import from_json, to_json


def fenced(*boxes: list[int], label: str = "red circle") -> str:
    items = ", ".join(f'{{"bbox_2d": {box}, "label": "{label}"}}' for box in boxes)
    return f"```json\n[{items}]\n```"


ONE = Prompt.ask("Where?", answer="[10, 10, 50, 50]")
ALL = Prompt.ask("Find all.", answer=fenced([10, 10, 50, 50]))
ABSENT = Prompt.ask("Find all.", answer="None")


def scores(rewards, prompt: Prompt, *said: str) -> list[list[float]]:
    batch = score(rewards, groups_of([prompt], [said]), Context())
    return batch["reward_RK"].tolist()


def test_what_a_row_asks_for_is_read_off_its_answer():
    assert one_box("[1, 2, 3, 4]")
    assert one_box('{"bbox_2d": [1, 2, 3, 4]}')
    assert one_box([1, 2, 3, 4])
    assert not one_box(fenced([1, 2, 3, 4]))
    assert not one_box("None")
    assert not one_box([{"bbox_2d": [1, 2, 3, 4]}])


def test_each_row_has_the_reward_it_asks_for():
    one, every = (scores((IOU, AP), prompt, answered("", fenced([10, 10, 50, 50])))[0] for prompt in (ONE, ALL))
    assert one[0] == 1 and one[1] != one[1]  # noqa: PT018 - NaN: does not apply.
    assert every[0] != every[0] and every[1] == pytest.approx(1)  # noqa: PT018


def test_a_box_twice_as_wide_is_worth_half():
    assert scores((IOU,), ONE, answered("", '{"bbox_2d": [10, 10, 90, 50]}'))[0] == [pytest.approx(0.5)]


def test_boxes_that_find_nothing_cost_under_the_length_factor_alone():
    sprayed = fenced([10, 10, 50, 50], [0, 0, 5, 5], [60, 60, 64, 64], [0, 60, 4, 64])
    assert scores((AP,), ALL, answered("", sprayed))[0] == [pytest.approx(0.25)]


def test_that_nothing_is_there_has_to_be_said():
    said = [answered("", "None"), answered("", "[]"), answered("", "I see a dog"), "None"]
    assert [row[0] for row in scores((AP,), ABSENT, *said)] == [1, 1, 0, 0]
    assert scores((AP,), ALL, answered("", "None")) == [[0]]


def test_the_last_answer_counts():
    assert scores((AP,), ALL, "<answer>None</answer>" + answered("", fenced([10, 10, 50, 50])))[0] == [pytest.approx(1)]


def test_a_single_box_must_be_an_object():
    said = [
        answered("x", '{"bbox_2d": [1, 2, 3, 4]}'),
        answered("x", "[1, 2, 3, 4]"),
        "well, " + answered("x", '{"bbox_2d": [1, 2, 3, 4]}'),
    ]
    assert [row[0] for row in scores((FORMAT,), ONE, *said)] == [1, 0, 0]
    assert [row[0] for row in scores((RELEASED["format"],), ONE, *said)] == [1, 0, 1]
    assert scores((FORMAT,), ALL, answered("x", "None")) == [[1]]


def test_the_released_overlap_has_no_room_for_one_pixel():
    thin = Prompt.ask("Where?", answer="[10, 10, 11, 50]")
    said = answered("", '{"bbox_2d": [10, 10, 11, 50]}')
    assert scores((IOU,), thin, said) == [[1]]
    assert scores((RELEASED["iou"],), thin, said) == [[0]]


def test_the_total_is_the_sum_of_what_applies():
    batch = score(
        RECIPE.paper.stages[0].rewards, groups_of([ONE], [[answered("", '{"bbox_2d": [10, 10, 90, 50]}')]]), Context()
    )
    assert weighted_sum(batch, Context()).tolist() == [pytest.approx(1.5)]


def test_accuracy_is_a_threshold_for_one_box_and_a_share_for_all():
    assert scores((METRIC,), ONE, answered("", "[10, 10, 90, 50]"), answered("", "[10, 10, 91, 50]")) == [[1], [0]]
    assert scores((METRIC,), ALL, answered("", fenced([10, 10, 50, 50], [0, 0, 5, 5]))) == [[0.5]]


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert [line["reward/ap"] for line in lines] == [0, 0]
    assert set(run.summary["others"]["before"]) == {"boxes", "count", "ap", "format"}
