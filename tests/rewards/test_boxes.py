"""Boxes read from untrusted text, and rewards of boxes."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import bounded

from gamutrl.rewards import boxes as b
from gamutrl.rewards.parsing import boxes_in, detections, json_in

corner = st.integers(0, 100)
box = st.tuples(corner, corner, corner, corner).map(list)
NOTATIONS = [
    lambda boxes: json.dumps([{"bbox_2d": one, "label": "cat"} for one in boxes]),
    lambda boxes: f"```json\n{json.dumps([{'bbox_2d': one, 'label': 'cat'} for one in boxes])}\n```",
    lambda boxes: str([{"Position": one, "Confidence": 0.5} for one in boxes]),
    lambda boxes: str(boxes),
    lambda boxes: "".join(f"<|box_start|>({a},{b}),({c},{d})<|box_end|>" for a, b, c, d in boxes),
    lambda boxes: "I see " + " and ".join(str(one) for one in boxes),
]


def answer(boxes, **extra):
    return f"<think>t</think><answer>{json.dumps([{'bbox_2d': one, **extra} for one in boxes])}</answer>"


@given(st.lists(box, min_size=1, max_size=5))
def test_boxes_are_read_in_every_notation(boxes):
    for write in NOTATIONS:
        assert [list(d.box) for d in boxes_in(write(boxes))] == boxes


def test_what_is_said_beside_a_box_is_read():
    (found,) = boxes_in('[{"bbox_2d": [1, 2, 3, 4], "label": "cat", "score": 0.5, "point_2d": [2, 3]}]')
    assert (found.label, found.score, found.point) == ("cat", 0.5, (2, 3))


def test_a_list_that_was_cut_off_keeps_its_whole_objects():
    assert len(boxes_in("[{'Position': [1, 2, 3, 4], 'Confidence': 0.5}, {'Position': [1, 2,")) == 1
    assert json_in("[{'a': 1}, {'b'", repair=False) is None


@given(st.text())
def test_any_text_is_read_or_gives_nothing(text):
    for found in boxes_in(text):
        assert all(map(math.isfinite, found.box))


keys = st.sampled_from(["bbox_2d", "label", "score", "x"])
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
)


@given(json_values)
def test_any_json_is_read_or_gives_nothing(value):
    for found in detections(value):
        assert len(found.box) == 4


SCORES = [b.box_score, b.detection_iou, b.detection_confidence, b.detection_ap, b.matched_score, b.box_count]
HOSTILE = ["[", "{", '{"bbox_2d":', "[1,2,3,4],", "(1,2),(", "1", "[1,", "```json\n", "'", "[[[[1,2,3,4]", " "]
HOSTILE += ['{"bbox_2d":[1,2,3,4]},']


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_megabyte_of_anything_is_scored_in_time(piece):
    text = "<answer>[" + piece * (1_000_000 // len(piece)) + "</answer>"
    for score in SCORES:
        with bounded():
            assert 0 <= score(text, [[1, 2, 3, 4]]) <= 1


@given(st.lists(box, max_size=4), st.lists(box, max_size=4))
def test_every_score_is_in_the_unit_interval_and_full_for_the_truth(found, true):
    for score in SCORES:
        assert 0 <= score(answer(found), true) <= 1 + 1e-9


def test_the_truth_itself_scores_full_marks():
    true = [[0, 0, 10, 10], [50, 50, 80, 90]]
    for score in SCORES:
        assert score(answer(true, score=1.0), true) == pytest.approx(1)


def test_no_object_and_none_found_is_right_and_one_found_is_wrong():
    for score in SCORES[1:]:
        assert score("<answer>No Objects</answer>", []) == 1
        assert score("<answer>None</answer>", "None") == 1
    for score in (b.detection_iou, b.detection_ap, b.matched_score, b.box_count):
        assert score(answer([[1, 2, 3, 4]]), []) == 0


def test_a_box_too_many_costs_and_a_box_twice_does_not():
    true, other = [[0, 0, 10, 10]], [50, 50, 60, 60]
    assert b.detection_iou(answer([*true, other]), true) == 0.5
    assert b.detection_iou(answer([*true, *true]), true) == 1
    assert b.detection_ap(answer([*true, other]), true) == pytest.approx(0.5)
    assert b.detection_ap(answer([*true, other]), true, length_factor=False) == pytest.approx(1)


def test_being_sure_pays_when_right_and_costs_when_wrong():
    true, other = [[0, 0, 10, 10]], [[50, 50, 60, 60]]
    assert b.detection_confidence(answer(true, score=0.9), true) == pytest.approx(0.9)
    assert b.detection_confidence(answer(other, score=0.9), true) == pytest.approx(0.1)
    assert b.detection_confidence(answer(true), true) == 0


def test_matching_does_not_care_for_order():
    true = [[0, 0, 10, 10], [50, 50, 60, 60]]
    assert b.matched_score(answer(true[::-1]), true, power=2) == 1


def test_frames_are_sizes():
    assert b.to_frame([[0, 0, 500, 1000]], (1000, 1000), (28, 56)).tolist() == [[0, 0, 14, 56]]
    assert b.box_score("<answer>[0, 0, 500, 500]</answer>", [0, 0, 14, 14], (1000, 1000), (28, 28)) == 1


def test_a_threshold_makes_the_overlap_yes_or_no():
    assert b.box_score("<answer>[0, 0, 10, 10]</answer>", [0, 0, 10, 8], at_least=0.8) == 1
    assert b.box_score("<answer>[0, 0, 10, 10]</answer>", [0, 0, 10, 8], power=2) == pytest.approx(0.64)
