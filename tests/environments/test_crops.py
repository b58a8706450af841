"""Boxes to zoom into."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gamutrl.environments import crops, zoom
from gamutrl.environments.calls import ToolCall

sides = st.integers(-50, 150)
boxes = st.tuples(sides, sides, sides, sides)
size = (100, 80)


@given(boxes)
def test_what_is_clipped_lies_in_the_picture_where_the_box_meets_it(box):
    x1, y1, x2, y2 = crops.clipped(crops.ordered(box), size)
    if x1 < x2 and y1 < y2:
        assert 0 <= x1 < x2 <= 100
        assert 0 <= y1 < y2 <= 80


@given(boxes, st.integers(1, 40))
def test_a_box_grown_to_a_least_side_is_no_shorter_and_keeps_its_middle(box, side):
    x1, y1, x2, y2 = crops.at_least(crops.ordered(box), side)
    assert min(x2 - x1, y2 - y1) >= side
    a1, _, a2, _ = crops.ordered(box)
    assert abs((x1 + x2) - (a1 + a2)) <= 1


@given(boxes)
def test_scaling_there_and_back_changes_nothing(box):
    there = crops.scaled(box, size, (1, 1))
    assert crops.scaled(there, (1, 1), size) == pytest.approx(box)


def test_boxes_of_a_crop_are_mapped_into_the_picture():
    assert crops.out_of([(0, 0, 1, 1), (0.5, 0, 1, 0.5)], (0.2, 0.2, 0.6, 0.6)) == [
        pytest.approx([0.2, 0.2, 0.6, 0.6]),
        pytest.approx([0.4, 0.2, 0.6, 0.4]),
    ]
    assert crops.out_of([(0, 0, 1, 1)], (0.5, 0.5, 0.5, 0.9)) == []


@pytest.mark.parametrize(
    ("box", "word"),
    [([-1, 0, 5, 5], "x0"), ([0, 0, 101, 5], "width"), ([9, 0, 5, 5], "greater"), ([1, 2], "four"), ("a", "four")],
)
def test_a_fault_says_what_is_wrong(box, word):
    assert word in (crops.fault(box, size) or "")


def test_a_box_inside_the_picture_has_no_fault():
    assert crops.fault([0, 0, 100, 80], size) is None


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_fitted_size_is_made_of_whole_patches_within_the_limits(width, height):
    w, h = crops.fitted_size((width, height), least=56 * 56, most=1024 * 1024)
    assert w % 28 == h % 28 == 0
    assert w * h <= 1024 * 1024 or max(width, height) > 20 * min(width, height)


@given(st.integers(0, 1000))
def test_a_box_elsewhere_does_not_overlap(seed):
    box = [0.1, 0.1, 0.4, 0.4]
    x1, y1, x2, y2 = crops.box_elsewhere(box, Random(seed))
    assert x2 <= 0.1 or x1 >= 0.4 or y2 <= 0.1 or y1 >= 0.4
    assert 0 <= x1 < x2 <= 1
    assert 0 <= y1 < y2 <= 1


class TestZoom:
    image = Image.new("RGB", (300, 200))

    def test_a_call_shows_the_part_that_lies_in_the_picture(self):
        seen = zoom.look(self.image, ToolCall("image_zoom_in_tool", {"bbox_2d": [250, 100, 400, 300]}))
        assert seen.size == (50, 100)

    @pytest.mark.parametrize("box", [[0, 0, 20, 20], [0, 0], None, ["a"] * 4, [float("nan")] * 4])
    def test_a_box_that_cannot_be_shown_is_answered_in_words(self, box):
        assert "Error" in zoom.look(self.image, ToolCall("image_zoom_in_tool", {"bbox_2d": box}))

    def test_an_unknown_tool_is_named(self):
        assert "paint" in zoom.look(self.image, ToolCall("paint", {}))

    def test_an_answer_ends_a_turn_whatever_it_calls(self):
        call = '<tool_call>{"name": "image_zoom_in_tool", "arguments": {}}</tool_call>'
        assert zoom.asked(call)[0] == "call"
        assert zoom.asked(call + "<answer>x</answer>")[0] == "answer"
        assert zoom.asked("well")[0] == "nothing"
        assert zoom.asked("<tool_call>{</tool_call>") == ("unreadable", None)
