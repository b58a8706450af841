"""Jigsaws of any picture: pieces go where the answer says they went."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gamutrl.core import Message, Prompt, image, text
from gamutrl.data.jigsaw import RELATIONS, Jigsaw, cell, cropped, pair_choices, relation, shuffled
from gamutrl.data.problems import BadRow

grids = st.tuples(st.integers(1, 4), st.integers(1, 4)).filter(lambda grid: 2 <= grid[0] * grid[1] <= 8)


def picture(width: int = 61, height: int = 47, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def row(**size: int) -> Prompt:
    return Prompt.ask("?", image(picture(**size)), id="pictures/1", source="folder")


def pieces(shown: Image.Image, grid: tuple[int, int]) -> list[bytes]:
    return [shown.crop(cell(shown.size, grid, place)).tobytes() for place in range(grid[0] * grid[1])]


@given(grids, st.integers(0, 10_000))
def test_the_whole_grid_is_named_piece_by_piece(grid, seed):
    asked = Jigsaw(*grid, "full")(row(), seed)
    whole = pieces(cropped(picture(), grid), grid)
    assert [whole[int(number) - 1] for number in asked.answer.split()] == pieces(asked.media[0].value, grid)


@given(grids, st.integers(0, 10_000))
def test_options_hold_the_right_list_once(grid, seed):
    full, multiple = (Jigsaw(*grid, question)(row(), seed) for question in ("full", "multiple"))
    right = [line for line in multiple.text.splitlines() if line.startswith(f"{multiple.answer}. ")]
    assert right == [f"{multiple.answer}. {full.answer}"]
    assert multiple.text.splitlines().count(right[0]) == 1


@given(grids, st.integers(0, 10_000))
def test_a_pair_lies_as_the_answer_says(grid, seed):
    order = Jigsaw(*grid, "full")(row(), seed).answer.split()
    pair = Jigsaw(*grid, "pair")(row(), seed)
    said = next(line for line in pair.text.splitlines() if line.startswith(f"{pair.answer}. "))
    first, *words, second = said.removeprefix(f"{pair.answer}. ").split()
    (r1, c1), (r2, c2) = (divmod(int(order[int(place) - 1]) - 1, grid[1]) for place in (first, second))
    claim = " ".join(words)
    assert ("left" in claim, "right" in claim) == (c1 < c2, c1 > c2)
    assert ("upper" in claim or "above" in claim, "lower" in claim or "below" in claim) == (r1 < r2, r1 > r2)


@given(grids, st.integers(0, 10_000))
def test_a_moved_box_shows_what_was_elsewhere(grid, seed):
    asked = Jigsaw(*grid, "box")(row(), seed)
    x1, y1, x2, y2 = (int(side) for side in asked.answer.strip("[]").split(","))
    shown, whole = np.asarray(asked.media[0].value), np.asarray(cropped(picture(), grid))
    number = int(asked.text.split("Where is the one of cell ")[1].split("?")[0]) - 1
    left, top, right, bottom = cell(asked.media[0].value.size, grid, number)
    moved = shown[y1:y2, x1:x2]
    w, h = x2 - x1, y2 - y1
    home = [whole[y : y + h, x : x + w] for y in range(top, bottom - h + 1) for x in range(left, right - w + 1)]
    assert any((part == moved).all() for part in home)
    assert not (left <= x1 < right and top <= y1 < bottom)


def test_one_place_is_one_number_of_the_grid():
    full, single = (Jigsaw(2, 3, question)(row(), 5) for question in ("full", "single"))
    place = int(single.text.split("lies at place ")[1].split("?")[0])
    assert full.answer.split()[place - 1] == single.answer


def test_every_order_comes_equally_often():
    orders = Counter(Jigsaw(2, 1, "full")(row(width=8, height=8), seed).answer for seed in range(400))
    assert set(orders) == {"1 2", "2 1"}
    assert abs(orders["1 2"] - 200) < 50


def test_the_same_seed_gives_the_same_puzzle_and_columns_stay():
    one, other, third = (Jigsaw(2, 2, "pair")(row(), seed) for seed in (3, 3, 4))
    assert (one.text, one.answer) == (other.text, other.answer)
    assert one.text != third.text
    assert one.columns == {"source": "folder", "jigsaw": [2, 2], "answer_type": "pair"}
    assert one.id == "pictures/1"


def test_borders_are_black_and_insides_stay():
    shown = np.asarray(shuffled(picture(40, 40), (2, 2), [0, 1, 2, 3], border=0.2))
    assert not shown[:2].any()
    assert not shown[18:22].any()
    assert (shown[2:18, 2:18] == np.asarray(picture(40, 40))[2:18, 2:18]).all()


def test_rows_and_columns_change_places_when_asked():
    shapes = {tuple(Jigsaw(3, 1, "full", swap=True)(row(), seed).columns["jigsaw"]) for seed in range(20)}
    assert shapes == {(3, 1), (1, 3)}


@given(grids, st.integers(0, 100), st.data())
def test_the_right_relation_stands_in_its_slot(grid, seed, data):
    first, second = data.draw(st.lists(st.integers(1, grid[0] * grid[1]), min_size=2, max_size=2, unique=True))
    right = relation(first, second, grid[1])
    slots = 2 if 1 in grid else 8
    slot = data.draw(st.integers(0, slots - 1))
    choices = pair_choices(grid, right, slot, random.Random(seed))
    assert choices[slot] == right
    assert len(set(choices)) == len(choices) == slots
    assert set(choices) <= set(RELATIONS)


def test_what_cannot_be_cut_is_said():
    with pytest.raises(BadRow, match="needs a picture"):
        Jigsaw()(Prompt((Message("user", (text("?"),)),)), 0)
    with pytest.raises(BadRow, match="3 × 1"):
        Jigsaw(3, 1)(row(width=5, height=2), 0)
    with pytest.raises(BadRow, match="nothing to put together"):
        Jigsaw(1, 1)(row(), 0)
