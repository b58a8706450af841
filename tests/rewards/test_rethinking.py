"""Thoughts with boxes that are thought over again: boxes, marks, and what is said twice."""

from __future__ import annotations

import pytest
from patience import bounded

from gamutrl.rewards.repetition import unrepeated
from gamutrl.rewards.rethinking import (
    answer_mark,
    boxes_in_thought,
    grounded_thought,
    rethinking_marks,
    rethinking_pairs,
)

TWO = '<think>one [1, 2, 3, 4], two {"bbox_2d": [5,6,7,8]}</think><rethink>two</rethink><answer>2</answer>'


def test_one_answer_mark_is_worth_most():
    assert [answer_mark(said) for said in ("2", TWO, TWO + TWO)] == [0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("said", "answer", "counting", "value"),
    [
        (TWO, "2", True, 1.5),
        (TWO, "3", True, 0.5),
        (TWO, "2", False, 0.5),
        (TWO.replace("<rethink>", ""), "2", True, 0),
        ("<think>none</think><rethink>", "0", True, 1),
        ("<think>none</think><rethink>[1, 2, 3, 4]", "1", True, 0),
        (TWO, "two", True, 0.5),
    ],
)
def test_boxes_before_the_second_thought_count(said, answer, counting, value):
    assert grounded_thought(said, answer, counting) == value


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (TWO, 0.5),
        ("<think>hm</think><rethink>hm</rethink>", 0.4),
        ("<think>so it is</think>", 0.2),
        ("<rethink>hm</rethink><think>hm</think>", 0.2),
        ("2", 0),
    ],
)
def test_marks_earn_in_their_order(said, value):
    assert rethinking_marks(said) == pytest.approx(value)


def test_the_papers_marks_earn_in_pairs():
    assert [rethinking_pairs(said) for said in (TWO, "<think></think>", "<think>")] == [1, 0.5, 0]


def test_saying_the_same_again_costs():
    assert unrepeated("a few words", range(30)) == 0.5
    assert unrepeated(" ".join("abcdefghij"), range(30)) == 0.5
    # Of 24 places 17 have the same eight words after them, and all 17 places of the tokens.
    assert unrepeated(" ".join("abcdefgh" * 4), list(range(8)) * 4) == pytest.approx(-17 / 48)
    assert unrepeated(" ".join("abcdefgh" * 4), range(32)) == pytest.approx(7 / 48)


def test_a_megabyte_is_read_in_time():
    for said in ("1, " * 300_000, "<think>" * 140_000, "1, 2, 3, 4 " * 90_000):
        with bounded(said[:20]):
            grounded_thought(said, "2", True), rethinking_marks(said), boxes_in_thought(said)
