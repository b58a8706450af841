"""Spans of time read from text, and rewards of them."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.rewards import spans as s

seconds = st.integers(0, 500)


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=4))
def test_spans_are_read_in_every_notation(pairs):
    written = [
        " ".join(f"from {start} to {end}." for start, end in pairs),
        "; ".join(f"{start}.0s - {end}.00 seconds" for start, end in pairs),
        str([list(pair) for pair in pairs]),
        str([{"start_time": str(start), "end": end} for start, end in pairs]),
        "; ".join(f"{a // 60}:{a % 60:02d} to {b // 60}:{b % 60:02d}" for a, b in pairs),
    ]
    for text in written:
        assert s.spans_in(text) == pairs


def test_the_bare_form_takes_no_units():
    assert s.bare_spans_in("1 to 2 to 3, 4.5 AND 6") == [(1, 2), (4.5, 6)]
    assert s.bare_spans_in("2.0s to 8.0s") == []


def test_the_last_span_of_the_last_answer_counts():
    text = "<answer>1 to 2</answer><answer>0 to 4, 2 to 8</answer>"
    assert s.span_score(text, [2, 8]) == 1
    assert s.span_score("2 to 8", [2, 8]) == 0
    assert s.span_score("<answer>8 to 2</answer>", [2, 8]) == 0


def test_boundaries_cost_in_proportion_to_the_video():
    text = "<answer>0 to 10</answer>"
    assert s.span_score(text, [5, 10], 10) == 0.5
    assert s.span_score(text, [5, 10], 10, boundaries=True) == 0.25


def test_a_row_without_a_span_is_an_error_that_says_so():
    with pytest.raises(ValueError, match=r"\[start, end\]"):
        s.span_score("<answer>1 to 2</answer>", "soon")


def test_sets_of_spans():
    read = partial(s.in_answer)
    assert s.span_set_score("<answer>0 to 2, 4 to 6</answer>", [[1, 5]], read=read) == pytest.approx(1 / 3)
    assert s.span_set_score("<answer>none</answer>", []) == 1
    assert s.span_set_score("no answer", []) == 0


def test_a_track_needs_a_box_for_every_frame():
    track = [[0, 0, 10, 10], [5, 5, 15, 15]]
    assert s.track_score(track, track) == 1
    assert s.track_score(track[:1], track) == 0
    assert s.track_score([[0, 0, 10, 5], track[1]], track) == 0.75
    assert s.track_score(None, track) == 0
