"""STAR-R1: triplets paid by how much of them is right, wrong and missing ones charged."""

from __future__ import annotations

import pytest
from by_hand import answered, groups_of, random_model, short_run
from hypothesis import given
from hypothesis import strategies as st
from patience import bounded

from gamutrl.core import Context
from gamutrl.data.worlds import rooms
from gamutrl.recipes.star_r1 import RECIPE, all_changes, changes_in, surplus, tiers, transformed
from gamutrl.rewards.table import score, weighted_sum
from gamutrl.training.config import from_json, to_json

TRUE = "2.color.cyan, 3.size.small"


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (TRUE, 10),
        ("3.size.small, 2.color.cyan", 10),
        ("2.color.red, 3.size.small", 1.5 + 5 - 1),
        ("2.shape.cross, 3.size.small", 0.5 + 5 - 1),
        ("1.color.cyan, 3.size.small", 5 - 1),
        ("3.size.small", 5 - 1),
        ("", -2),
        ("2.color.cyan, 3.size.small, 1.color.red, 4.color.red, 5.size.small", 10 - 3),
        ("2.color.cyan, 2.color.cyan", 5 - 1),
        ("what?, 3.size.small", 5 - 1),
    ],
)
def test_what_an_answer_is_worth(said, value):
    assert transformed(answered("", said), TRUE) == pytest.approx(value)


def test_the_papers_worked_values():
    assert transformed(answered("", "1.color.red"), "1.color.blue") == 0.5
    assert transformed(answered("", "1.shape.cube"), "1.color.blue") == -0.5
    assert transformed("no answer", TRUE) == -2


@pytest.mark.parametrize(
    ("options", "said", "value"),
    [
        ({"tier": (0, 1.5, 5)}, "2.shape.cross, 3.size.small", 5 - 1),
        ({"tier": (0.5, 0, 5)}, "2.color.red, 3.size.small", 5 - 1),
        ({"missing": 0}, "", 0),
        ({"wrong": 0}, "1.color.red, 4.color.red, 3.size.small", 5),
        ({"partial_is_wrong": False}, "2.color.red, 3.size.small", 6.5),
        ({"reuse": True}, "3.size.small, 3.size.small", 10),
    ],
)
def test_each_part_can_be_switched_off(options, said, value):
    assert transformed(answered("", said), TRUE, **options) == pytest.approx(value)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("[2.Color.CYAN]", [("2", "color", "cyan")]),
        ("'2.color.cyan'\n(3 . size . small)", [("2", "color", "cyan"), ("3", "size", "small")]),
        ("2.material.rough metal;", [("2", "material", "rough metal")]),
        ("2.color", [()]),
        (" , ,", []),
    ],
)
def test_items_are_read_as_people_write_them(said, found):
    assert changes_in(said) == found


def test_the_best_match_is_found_whatever_stands_first():
    true = changes_in("2.color.red, 2.size.small")
    assert tiers(changes_in("2.size.large, 2.color.red"), true) == [2, 3]
    assert tiers(changes_in("2.shape.cross, 2.size.large"), true) == [1, 2]


@given(st.permutations(range(4)))
def test_the_order_of_a_list_does_not_count(order):
    items = ["2.color.cyan", "3.size.large", "4.shape.cross", "2.color.red"]
    assert transformed(answered("", ", ".join(items[k] for k in order)), TRUE) == transformed(
        answered("", ", ".join(items)), TRUE
    )


def test_all_changes_and_the_surplus_are_measured():
    assert all_changes(answered("", "3.size.small, 2.color.cyan"), TRUE) == 1
    assert all_changes(answered("", f"{TRUE}, nothing"), TRUE) == 0
    assert [surplus(answered("", said), TRUE) for said in (TRUE, "", f"{TRUE}, 1.size.small")] == [0, -2, 1]


@pytest.mark.parametrize("hostile", ["1.", "1.color.red,", "1 . " * 9, "[" * 9, ". ", "1 "])
def test_endless_answers_take_no_endless_time(hostile):
    text = answered("", hostile * (1_000_000 // len(hostile)))
    with bounded():
        transformed(text, TRUE)


def test_the_worlds_own_answers_are_worth_most():
    rows = rooms.rows("train", 10, task="changes", form="think")
    said = [[rooms.demonstrate(row, error_rate=wrong) for wrong in (0.0, 1.0)] for row in rows]
    batch = score(RECIPE.tiny.stages[-1].rewards, groups_of(rows, said), Context())
    right_R, wrong_R = weighted_sum(batch, Context()).view(-1, 2).T
    assert right_R.tolist() == [5 * len(row.columns["changes"]) + 1 for row in rows]
    assert (wrong_R < right_R).all()


@pytest.mark.parametrize("preset", [RECIPE.tiny, RECIPE.paper, *RECIPE.variants.values()])
def test_presets_are_written_and_read_back_equal(preset):
    assert from_json(to_json(preset)) == preset


def test_two_steps_on_a_random_model(tmp_path):
    _, lines = short_run(RECIPE.tiny, tmp_path / "run", random_model(tmp_path / "model"))
    assert {"reward/changes", "reward/format"} <= set(lines[0])
