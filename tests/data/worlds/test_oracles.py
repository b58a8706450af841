"""Readers by rule: they answer from words what the world answers from the picture."""

from __future__ import annotations

import pytest

from gamutrl.core import Message, text
from gamutrl.data.worlds import scenes
from gamutrl.data.worlds.oracles import REFUSED, read_scene


def reads(words: str, question: str) -> str:
    return read_scene([[Message("user", (text(f"Text: {words}\nQuestion: {question}"),))]])[0]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_worlds_own_descriptions_hold_the_answer(steps):
    rows = scenes.rows("test", 40, seed=1, task="numbers", steps=steps)
    assert [reads(row.columns["caption"], row.columns["question"]) for row in rows] == [row.answer for row in rows]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("red 12, blue 7", "19"),
        ("there is a red 12 and below it a blue 7", "19"),
        ("red 12", "unknown"),
        ("red 12, blue 7, blue 8", "unknown"),
        ("red 12, blue 7, so 12 + 7 = 19", REFUSED),
        ("19", "unknown"),
        ("", "unknown"),
    ],
)
def test_what_the_words_leave_open_stays_open(words, said):
    assert reads(words, "red + blue = ?") == said


def test_a_hostile_text_is_read_in_linear_time():
    assert reads("red " * 200_000 + "red 1" * 100_000, "Which number is red?") in ("1", "unknown")


def test_the_worlds_own_captions_hold_the_count():
    rows = scenes.rows("test", 60, seed=1, task="count")
    assert [reads(row.columns["caption"], row.columns["question"]) for row in rows] == [row.answer for row in rows]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("red circle top, blue circle left", "2"),
        ("a blue square", "0"),
        ("", "0"),
        ("red circle top: 1", REFUSED),
        ("there are 2", REFUSED),
    ],
)
def test_a_count_is_made_of_what_is_described(words, said):
    assert reads(words, "How many circles?") == said


def test_what_does_not_ask_how_many_stays_open():
    assert reads("red circle top", "What colour is the circle?") == "unknown"
