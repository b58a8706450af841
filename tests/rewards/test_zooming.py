"""Zooming is worth it only where looking once was not enough."""

from __future__ import annotations

from gamutrl.rewards.zooming import adaptive_scores


def test_a_direct_right_answer_outranks_one_that_zoomed():
    assert adaptive_scores([0.9, 1.0, 0.1, 0.0, 0.1], [False, True, True, False, False]) == [1.0, 0.8, 0.5, 0.0, 0.1]


def test_zooming_costs_nothing_where_nobody_was_right_without():
    assert adaptive_scores([1.0, 0.1], [True, False]) == [1.0, 0.1]
