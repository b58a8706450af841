"""GRIT: boxes inside the thought, a second thought, and as many boxes as things are counted."""

from __future__ import annotations

import pytest
from by_hand import groups_of, random_model, short_run

from gamutrl.core import Context, Prompt
from gamutrl.data.worlds.turns import Grounded
from gamutrl.recipes.grit import JUDGE, RECIPE, boxes, located, right, worded
from gamutrl.rewards.judging import positive_grade
from gamutrl.rewards.table import score
from gamutrl.training.config import from_json, to_json

TWO = '<think>one [1, 2, 3, 4], two {"bbox_2d": [5,6,7,8]}</think><rethink>two</rethink><answer>2</answer>'


@pytest.mark.parametrize(
    ("said", "answer", "value"),
    [(TWO, "2", 1), ("<answer>2", "2", 1), ("<answer> 2 </answer><answer>3</answer>", "2", 1), ("2", "2", 0)],
)
def test_the_answer_stands_behind_its_first_mark(said, answer, value):
    assert right(said, answer) == value


def test_a_closing_mark_is_no_word_of_the_answer():
    assert worded("<answer>a dog</answer>", "a dog") == worded("<answer>a dog", "a dog") == 1
    assert worded("a dog", "a dog") == 0


def test_each_row_says_itself_whether_it_counts():
    assert boxes(TWO, "2", dataset="tallyqa") == boxes(TWO, "2", task="count") == 1.5
    assert boxes(TWO, "2", dataset="vsr") == boxes(TWO, "2", task="relation") == 0.5
    assert boxes(TWO, "2", task="count", count=0.5) == 1


def test_boxes_are_held_against_what_was_asked_about():
    facts = [
        {"shape": "circle", "colour": "red", "box": [0, 0, 10, 10], "cell": "top left"},
        {"shape": "square", "colour": "red", "box": [40, 40, 50, 50], "cell": "center"},
    ]
    red_circles, blue = {"colour": "red", "shape": "circle"}, {"colour": "blue", "shape": None}
    assert located("[0, 0, 10, 10]<rethink>", facts, red_circles) == 1
    assert located("[0, 0, 10, 10] [40, 40, 50, 50]<rethink>", facts, red_circles) == 0.5
    assert located("none", facts, red_circles) == located("[0, 0, 10, 10]", facts, blue) == 0
    assert located("none", facts, blue) == 1


def test_a_judges_grade_is_made_zero_or_one():
    assert [positive_grade(reply) for reply in ("Score: 0.3", "score: 0", "well")] == [1, 0, None]
    row = Prompt.ask("Is it?", answer="yes")
    context = Context(responders={"judge": lambda asked: ["Score: 0.5"] * len(asked)})
    batch = score((JUDGE,), groups_of([row], [[TWO, "no mark"]]), context)
    assert batch.reward("accuracy").tolist() == [1, 0]


def test_rows_that_teach_are_not_those_that_are_asked():
    (shown, reinforced), evaluation = RECIPE.tiny.stages, RECIPE.tiny.evaluation
    taught = [{row.id for row in stage.data.batch(0, 64, 0)} for stage in (shown, reinforced)]
    assert not taught[0] & taught[1]
    held_out = evaluation.prompts()
    assert len(held_out) == len({row.id for row in held_out}) == 200
    assert {row.columns["task"] for row in held_out} == {"attribute", "count"}


def test_what_is_demonstrated_earns_everything():
    for row in RECIPE.tiny.evaluation.prompts()[::20]:
        said = Grounded()(row, 0)
        batch = score(RECIPE.tiny.stages[-1].rewards, groups_of([row], [[said]]), Context())
        rewards = dict(zip(batch.reward_names, batch["reward_RK"][0].tolist()))
        counted = row.columns["task"] == "count"
        empty = row.answer == "0"
        assert rewards["accuracy"] == 1
        assert rewards["boxes"] == 0.5 * (not empty) + counted
        assert rewards["tags"] == pytest.approx(0.4 if empty else 0.5)


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    run, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/boxes", "reward/tags", "reward/repetition"} <= set(lines[0])
    assert "located" in run.summary["others"]["after"]
