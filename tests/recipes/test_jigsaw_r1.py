"""Jigsaw-R1: partial credit for cells, a layout with the right kind of answer, sizes by rows served."""

from __future__ import annotations

import pytest
from by_hand import answered, random_model, short_run

from gamutrl.recipes.jigsaw_r1 import RECIPE, kind_of, layout, placed, solved
from gamutrl.training.config import from_json, to_json


def test_what_a_row_asks_for_is_read_off_its_answer():
    assert [kind_of(a) for a in ("2 1 3", "H", "4", "[1, 2, 3, 4]")] == ["grid", "letter", "number", "box"]


@pytest.mark.parametrize(
    ("said", "answer", "value"),
    [
        (answered("", "2 1 3 4"), "1 2 3 4", 0.5),
        (answered("", "2, 1, 3, 4"), "2 1 3 4", 1),
        (answered("", "2\n1\n3"), "2 1 3 4", 0),
        (answered("", "2 1 three"), "2 1 3", 0),
        (answered("", "1 1 1"), "2 1 3", 1 / 3),
        (answered("", "(B)"), "B", 1),
        (answered("", "A"), "B", 0),
        ("I think B", "B", 1),  # Where there is no tag the whole text counts.
        (answered("", "7"), "7", 1),
        (answered("", "[0, 0, 10, 20]"), "[0, 0, 10, 10]", 0.5),
    ],
)
def test_partial_credit(said, answer, value):
    assert placed(said, answer) == pytest.approx(value)
    assert solved(said, answer) == float(value == 1)


@pytest.mark.parametrize(
    ("said", "answer", "value"),
    [
        (answered("hm", "2 1 3"), "1 2 3", 1),
        (answered("hm", "2 1"), "1 2 3", 0),
        (answered("hm", "2 1 4"), "1 2 3", 0),
        (answered("hm", "B"), "A", 1),
        (answered("hm", "B or C"), "A", 0),
        (answered("hm", "12"), "3", 1),
        (answered("hm", "[1, 2, 3, 4]"), "[5, 6, 7, 8]", 1),
        (answered("hm", "here"), "[5, 6, 7, 8]", 0),
        ("2 1 3", "1 2 3", 0),
        ("so " + answered("hm", "2 1 3"), "1 2 3", 0),
    ],
)
def test_the_layout_asks_for_an_answer_of_the_right_kind(said, answer, value):
    assert layout(said, answer) == value


def test_without_thinking_the_whole_text_is_the_answer():
    assert placed("H", "H", tag=None) == layout("H", "H", tag=None) == 1
    assert layout("It is H", "H", tag=None) == 0
    assert layout(answered("", "H"), "H", tag=None) == 0


def test_sizes_grow_with_the_rows_served():
    data = RECIPE.tiny.stages[0].data
    early, late = (data.batch(index, 8, 0) for index in (0, 50))
    assert {len(row.answer.split()) for row in early} == {2}
    assert {len(row.answer.split()) for row in late} == {3}
    assert {len(row.answer.split()) for row in RECIPE.tiny.evaluation.prompts()} == {3}


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/accuracy", "reward/format"} <= set(lines[0])
