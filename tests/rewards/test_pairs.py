"""Preference pairs: who is chosen, who is rejected, and where there is nothing to learn from."""

from __future__ import annotations

import pytest

from gamutrl.rewards.final_answers import GRADERS, one_in_the_other, verdict
from gamutrl.rewards.pairs import against_before, best_and_worst, pairs_by_key
from gamutrl.rewards.tournament import judged

MARKED = "I look.\nI count.\nFinal answer: {}"
EXACT = [GRADERS["math_score"]]


@pytest.mark.parametrize(
    ("text", "side", "answer"),
    [
        (MARKED.format("42"), "right", "42"),
        (MARKED.format("42.0"), "right", "42.0"),
        (MARKED.format("41"), "wrong", "41"),
        ("It is 42.", "unreadable", None),
    ],
)
def test_a_response_is_right_wrong_or_unreadable(text, side, answer):
    assert verdict(text, "42", graders=EXACT) == (side, answer)


def test_pairs_stay_within_their_question_and_need_different_answers():
    good = {"a": [("yes, 4", "4")], "b": [("so 7", "7")]}
    bad = {"a": [("no, 5", "5"), ("no, 14", "14")], "c": [("so 9", "9")]}
    found = pairs_by_key(good, bad, most=10, skip=one_in_the_other)
    assert found == [("a", ("yes, 4", "4"), ("no, 5", "5"))]


def test_a_question_gives_at_most_so_many_pairs_the_same_ones_each_time():
    good, bad = {"a": list(range(5))}, {"a": list(range(10, 15))}
    first, again = (pairs_by_key(good, bad, most=7, seed=3, skip=lambda one, other: False) for _ in range(2))
    assert first == again
    assert len(set(first)) == 7


def test_the_best_must_be_good_and_better_than_the_worst():
    assert best_and_worst([0.2, 0.9, 0.9, 0.1]) == (1, 3)
    assert best_and_worst([0.5, 0.5]) is None
    assert best_and_worst([0.2, 0.6], above=0.6) is None
    assert best_and_worst([]) is None


def test_a_next_round_turns_the_winner_into_the_loser_once_it_is_beaten():
    assert against_before([0.4, 0.8], 0.7) == (1, True)
    assert against_before([0.4, 0.6], 0.7) == (1, False)


def test_a_tournament_weighs_categories_that_the_judge_chose():
    """Of three items the first beats all; in the one category that was compared, the last beats the second."""
    draw, last = {"winner": "none"}, {"winner": "Image 2"}
    detail = {"winner": "Image 1", "categories": [{"name": "Style", "cat_winner": "image 2"}]}
    found = judged(3, [{"winner": "Image 1"}, {"winner": "Image 1"}, detail])
    assert found.overall == [1.0, 0.5, 0.0]
    assert found.by_category == {"Style": [None, 0.0, 1.0]}
    assert found.known == [False, True, True]
    assert found.reward == [1.0, 0.25, 0.5]
    assert judged(3, [{"winner": "Image 1"}, {"winner": "Image 1"}, detail], weights=(3.0, 1.0)).reward[2] == 0.25
    assert judged(2, [draw]).reward == [0.5, 0.5]
    assert judged(2, [last]).reward == [0.0, 1.0]
    assert judged(2, ["no verdict"]).reward == [0.5, 0.5]
