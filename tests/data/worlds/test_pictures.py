"""Prompts for pictures: what is asked, what is held out, and pictures that fit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from gamutrl.data.asked import Asked
from gamutrl.data.worlds import pictures, render

SHAPES = [task for task in pictures.TASKS if task not in ("twins", "digit")]


@pytest.mark.parametrize("task", pictures.TASKS)
def test_a_row_depends_on_split_seed_and_number_only(task):
    few, many = pictures.rows("train", 2, seed=3, task=task), pictures.rows("train", 6, seed=3, task=task)
    assert [(row.id, row.text, row.columns) for row in few] == [(row.id, row.text, row.columns) for row in many[:2]]
    other = pictures.rows("train", 6, seed=4, task=task)
    assert [row.columns["facts"] for row in many] != [row.columns["facts"] for row in other]
    assert not many[0].media


@pytest.mark.parametrize("task", SHAPES)
def test_no_prompt_is_both_trained_and_held_out(task):
    train = {row.text for seed in range(2) for row in pictures.rows("train", 200, seed, task=task)}
    test = {row.text for row in pictures.rows("test", 100, task=task)}
    assert len(test) >= 4
    assert not train & test


def test_digits_share_prompts_but_no_scan():
    scans = [
        {row.columns["facts"][0]["scan"] for row in pictures.rows(split, 200, task="digit")}
        for split in ("train", "test")
    ]
    assert not scans[0] & scans[1]
    assert {row.text for row in pictures.rows("test", 200, task="digit")} == {f"the digit {k}" for k in range(10)}


def test_unseen_kinds_come_only_where_they_are_asked_for():
    def kinds(split, **knobs):
        rows = pictures.rows(split, 200, task="any", **knobs)
        return [set(zip(row.columns["colors"], row.columns["objects"])) for row in rows]

    held_out = set(pictures.UNSEEN)
    for split in ("train", "test"):
        assert not set.union(*kinds(split)) & held_out
    assert all(found & held_out for found in kinds("test", unseen=True))
    assert not set.union(*({c for c, _ in pictures.UNSEEN},)) - {c for found in kinds("train") for c, _ in found}
    with pytest.raises(ValueError, match="Only test rows"):
        pictures.rows("train", 1, task="any", unseen=True)


@pytest.mark.parametrize("grid", [2, 3])
@pytest.mark.parametrize("task", SHAPES)
def test_the_facts_are_what_the_columns_ask_for(task, grid):
    for row in pictures.rows("train", 20, task=task, grid=grid):
        asked = Asked.of(row.columns)
        for things in (pictures.placed(row), pictures.placed(row, 5)):
            found = Counter((thing["colour"], thing["shape"]) for thing in things)
            assert found == dict(zip(zip(asked.colors, asked.objects), asked.counts))
            assert all(0 <= edge <= 1 for thing in things for edge in thing["box"])
        assert row.columns["prompt"] == row.text
        assert set(row.text.replace(",", " ,").split()) <= set(pictures.WORDS)


def test_relations_and_layouts_hold_in_the_facts():
    for row in pictures.rows("train", 40, task="relation"):
        (ax, ay), (bx, by) = ((t["box"][0] + t["box"][2], t["box"][1] + t["box"][3]) for t in pictures.placed(row, 1))
        holds = {"left of": ax < bx, "right of": ax > bx, "above": ay < by, "below": ay > by}
        assert holds[row.columns["relation"]]
    for row in pictures.rows("train", 40, task="layout"):
        named = {f"{thing['colour']} {thing['shape']}": thing for thing in pictures.placed(row, 1)}
        said = pictures.demonstrate(row).split(", ")
        wanted = [
            f"{color} {shape} {cell}"
            for color, shape, cell in zip(row.columns["colors"], row.columns["objects"], row.columns["cells"])
        ]
        assert sorted(said) == sorted(wanted)
        assert [named[label]["box"] for label in row.columns["labels"]] == row.columns["boxes"]


def test_twins_differ_in_one_fact_and_stay_together():
    rows = pictures.rows("train", 60, task="twins")
    for one, other in zip(rows[::2], rows[1::2]):
        assert one.columns["twin"] == other.text != one.text
        assert one.pool == other.pool
        assert one.columns["pair"] == other.columns["pair"]
        changed = [
            name
            for name in ("objects", "counts", "colors", "relation", "cells")
            if one.columns[name] != other.columns[name]
        ]
        assert len(changed) == 1
    assert len({row.pool for row in rows}) == 30
    alone = pictures.rows("train", 3, task="twins")
    assert [row.text for row in alone] == [row.text for row in rows[:3]]


@pytest.mark.parametrize("size", [24, 32, 72])
def test_pictures_come_in_any_size_and_differ_by_seed(size):
    for row in pictures.rows("train", 4, task="pair") + pictures.rows("train", 2, task="digit"):
        one, other = (np.asarray(pictures.target(row, size, seed)) for seed in (1, 2))
        assert one.shape == (size, size, 3)
        assert (one != other).any()
        assert (np.asarray(pictures.target(row, size, 1)) == one).all()
        assert (one == pictures.SHADE).mean() > 0.2


def test_a_wrong_plan_says_something_else():
    rows = pictures.rows("train", 30, task="any")
    assert all(pictures.demonstrate(row) != pictures.demonstrate(row, error_rate=1.0) for row in rows)


def test_codes_hold_what_the_picture_shows():
    for row in pictures.rows("train", 20, task="any"):
        things = pictures.placed(row)
        codes = pictures.codes(things)
        assert codes.shape == (6, 6)
        assert codes.max() < pictures.CODES
        assert pictures.plan(pictures.decoded(codes)) == pictures.plan(things)
    assert not pictures.decoded(np.full((6, 6), pictures.CODES))


def test_every_colour_is_named_as_the_renderer_names_it():
    assert {colour for colour, _ in pictures.KINDS} == set(render.COLOURS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"task": "nothing"}, "no task 'nothing'"),
        ({"task": "count", "mots": 3}, "does not take these knobs"),
        ({"task": "layout", "grid": 5}, "2 or 3 cells"),
    ],
)
def test_wrong_settings_are_told(arguments, said):
    with pytest.raises(ValueError, match=said):
        pictures.rows("train", 1, **arguments)
