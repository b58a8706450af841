"""Plots, pictures and texts of a report, each by itself."""

from __future__ import annotations

import math
from xml.dom.minidom import parseString

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import bounded
from PIL import Image

from gamutrl.report.history import Concentration
from gamutrl.report.pictures import Drawn, Pictures, in_pixels
from gamutrl.report.plots import Interval, Line, _ticks, interval_chart, line_chart, smooth, stacked_chart
from gamutrl.report.story import MAX_TEXT, pieces

numbers = st.lists(st.floats(width=32), min_size=1, max_size=40)


@settings(deadline=None)
@given(numbers, numbers)
def test_any_numbers_make_a_drawing_that_parses(a, b):
    for drawing in (line_chart([Line("a <b>", a), Line("b & c", b)]), stacked_chart([Line("a", [abs(v) for v in a])])):
        parseString(f"<div>{drawing}</div>")
        assert "nan" not in drawing.split("<svg")[-1]


def test_a_gap_in_the_numbers_is_a_gap_in_the_line():
    drawing = line_chart([Line("a", [1.0, 2.0, math.nan, 3.0, 4.0])])
    assert drawing.count("<polyline") == 2


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 6))
def test_ticks_are_round_and_inside(low, span, about):
    high = low + span
    ticks = _ticks(low, high, about)
    slack = span * 1e-6 + 1e-9
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    assert len(ticks) <= about + 2


def test_an_interval_chart_names_each_row_and_leaves_out_what_is_not_known():
    drawing = interval_chart([Interval("before", 0.3, 0.2, 0.4), Interval("constant", math.nan, math.nan, math.nan)])
    assert drawing.count("<circle") == 1
    assert "constant" in drawing


def test_smoothing_keeps_the_length_and_the_mean_of_a_flat_line():
    assert smooth([2.0] * 20) == [2.0] * 20
    assert len(smooth([1.0, math.nan, 3.0], span=3)) == 3


@settings(deadline=None)
@given(st.text(max_size=300))
def test_pieces_put_together_are_the_text(text):
    assert "".join(piece.text for piece in pieces(text)) == text


def test_a_thought_and_an_answer_are_told_apart():
    kinds = [(piece.kind, piece.text) for piece in pieces("<think>hm</think>so<answer>4</answer>")]
    assert kinds == [
        ("tag", "<think>"),
        ("thought", "hm"),
        ("tag", "</think>"),
        ("plain", "so"),
        ("tag", "<answer>"),
        ("answer", "4"),
        ("tag", "</answer>"),
    ]


def test_a_megabyte_of_brackets_is_cut_at_once():
    with bounded():
        found = pieces("<" * 500_000 + "<answer>" * 60_000)
    assert sum(len(piece.text) for piece in found if piece.kind != "cut") == MAX_TEXT
    assert "more characters" in found[-1].text


def test_one_answer_counts_one_and_ten_even_ones_count_ten():
    assert Concentration.of({"7": 50}, 50).in_effect == pytest.approx(1)
    even = Concentration.of({str(n): 5 for n in range(10)}, 50)
    assert even.in_effect == pytest.approx(10)
    assert even.share == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(10, 20, 30, 40)], [(10, 20, 30, 40)]),  # pixels
        ([(0.1, 0.2, 0.5, 1.0)], [(20, 20, 100, 100)]),  # fractions
        ([(500, 500, 1000, 1000)], [(100, 50, 200, 100)]),  # thousandths
    ],
)
def test_boxes_are_drawn_in_the_frame_they_were_written_in(boxes, expected):
    assert in_pixels(boxes, (200, 100)) == [pytest.approx(box) for box in expected]


def test_a_picture_is_stored_once_and_small(tmp_path):
    (tmp_path / "media").mkdir()
    Image.effect_noise((1200, 900), 80).convert("RGB").save(tmp_path / "media" / "0123456789abcdef.png")
    pictures = Pictures(tmp_path)
    first = pictures.show("media/0123456789abcdef.png", [Drawn((10, 10, 50, 50), "truth", "<b>")])
    second = pictures.show("media/0123456789abcdef.png")
    assert 'href="#p0"' in first
    assert 'href="#p0"' in second
    assert "&lt;b&gt;" in first
    assert pictures.definitions().count("<image") == 1
    assert len(pictures.definitions()) < 200_000


def test_pictures_beyond_the_budget_are_left_out_and_said_so(tmp_path):
    (tmp_path / "media").mkdir()
    pictures = Pictures(tmp_path, budget=30_000)
    for n in range(10):
        name = f"media/{n:08x}.png"
        Image.effect_noise((100, 100), 80 + n).save(tmp_path / name)
        last = pictures.show(name)
    assert "left out" in last
    assert len(pictures.definitions()) < 60_000


@pytest.mark.parametrize("name", ["media/../x.png", "/etc/passwd", "media/0123456789abcdef.svg", "media/x/y.png", ""])
def test_a_name_that_is_no_picture_of_the_run_is_not_opened(tmp_path, name):
    assert "left out" in Pictures(tmp_path).show(name)
