"""Objects with points, grids, maps, calls, lengths, repetition, graded answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.rewards import calls, grading, grids, lengths, maps, objects, repetition


def answer(*items):
    return f"<think>t</think><answer>{json.dumps(items)}</answer>"


CAT = {"bbox_2d": [100, 100, 300, 300], "point_2d": [200, 200], "label": "cat"}
DOG = {"bbox_2d": [400, 400, 600, 500], "point_2d": [500, 450], "label": "dog"}


def test_an_object_earns_a_mark_for_box_corners_and_point():
    assert objects.box_and_point_score(answer(DOG, CAT), [CAT, DOG]) == 3
    assert objects.box_and_point_score(answer(CAT), [CAT, DOG]) == 1.5
    assert objects.box_and_point_score(answer(CAT | {"point_2d": [350, 200]}), [CAT]) == 2
    assert objects.box_and_point_score(answer(), []) == 3
    assert objects.box_and_point_score("nothing", []) == 0


def test_precision_counts_what_is_too_much_and_recall_what_is_missing():
    assert objects.detection_precision(answer(CAT, DOG), [CAT]) == pytest.approx(0.5)
    assert objects.detection_precision(answer(CAT, DOG), [CAT], surplus=False) == pytest.approx(1)
    assert objects.detection_recall(answer(CAT), [CAT, DOG]) == pytest.approx(0.5)
    assert objects.detection_recall(answer(CAT), [CAT, DOG], value_steps=(0.6, 0.9)) == 0


def test_grids():
    assert grids.grid_in("2 1\n3, 4", 4) == [2, 1, 3, 4]
    assert grids.grid_in("2 x") is None
    assert grids.grid_in("5 1", 4) is None
    assert grids.cells_right([1, 2, 4, 3], [1, 2, 3, 4]) == 0.5
    assert grids.cells_right([1], [1, 2]) == 0
    assert grids.neighbours_right([2, 3, 1], [1, 2, 3], 1, 3) == 0.5
    assert grids.neighbours_right([9, 9], [1, 2], 1, 2) == 0


@given(st.permutations(range(1, 10)))
def test_the_right_grid_has_all_its_neighbours(cells):
    assert grids.neighbours_right(cells, cells, 3, 3) == 1
    assert grids.neighbours_right(cells, cells, 3, 3, by_value=False) <= 1


def test_maps_are_read_from_dicts_and_from_prose():
    names = ["chair", "tv", "tv stand"]
    assert maps.places_in("{'Chair': [[1,2]], 'sofa': [[3,3]]}", names) == {"chair": [[1, 2]]}
    assert maps.places_in("tv stand [2,3] tv [4,5]", names) == {"tv stand": [[2, 3]], "tv": [[4, 5]]}
    assert maps.places_in("__import__('os')", names) == {}
    assert maps.map_score({"chair": [[1, 2]]}, {"chair": [[1, 2]]}) == 1
    assert maps.map_score({}, {"chair": [[1, 1]]}) == 0
    assert maps.map_score({}, {}) == 1


def test_calls_earn_by_nearness():
    truth = "color(2, red), size(0, large)"
    assert calls.calls_score("size(0, 'large') color(2, red)", truth) == 1
    assert calls.calls_score("color(2, blue), size(0, large)", truth) == 0.75
    assert calls.calls_score("color(2, red), color(2, red)", truth) == 0.25
    assert calls.calls_score("none", truth) == 0


def test_lengths():
    assert lengths.cosine_length(0, True) == 1
    assert lengths.cosine_length(5000, True) == 0.5
    assert lengths.cosine_length(512, False) == pytest.approx(-0.25)
    assert lengths.bell_length(20, 10) == 1
    assert lengths.shorter_is_better([1, 3, 2], [True, True, False]) == [0.5, -0.5, 0]
    assert lengths.shorter_is_better([2, 2], [True, False]) == [0, 0]
    assert lengths.thought_share("<think>abc</think>", characters=6) == 0.5
    assert lengths.reasoning_steps("First, a. Next, b.") == pytest.approx(2 / 3)


def test_repetition():
    assert repetition.repeated_words("a b c a b c", n=3) == pytest.approx(-0.25)
    assert repetition.repeated_words("too short") == 0
    assert repetition.repeated_boxes(answer(CAT, CAT)) == -0.5
    assert repetition.repeated_sentences("It is. It is. So.") == 1
    assert repetition.repeated_sentences("It is. It is. It is.") == 0


@pytest.mark.parametrize(
    ("given", "truth", "same"),
    [
        ("(B)", "b", True),
        (r"\frac{1}{2}", "0.5", True),
        ("2/4", "1/2", False),
        ("6/2", "3", False),
        ("1,000", "1000", True),
        ("5 cm", "5", True),
        ("(1,2)", "(1, 2)", True),
        ("(1,2)", "[1,2]", False),
        ("x+1", "1+x", True),
        (None, "5", False),
        ("", "5", False),
    ],
)
def test_short_answers_are_graded_strictly(given, truth, same):
    assert grading.same_answer(given, truth) is same


def test_the_inside_of_a_box():
    assert grading.boxed(r"\boxed{1} \boxed{\frac{1}{2}}") == r"\frac{1}{2}"
    assert grading.boxed(r"\boxed{1} \boxed{2}", first=True) == "1"
    assert grading.boxed(r"\boxed{1") is None
    assert grading.boxed("none") is None
