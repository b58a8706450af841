"""Regions to look at: apart, of a size, over the true boxes, and what is found in them."""

from __future__ import annotations

import pytest

from gamutrl.rewards.regions import apart, covered, precision_and_recall, recall, sized

HALF, LEFT, RIGHT = [0, 0, 1, 0.5], [0, 0, 0.5, 1], [0.5, 0, 1, 1]


def test_regions_are_to_lie_apart():
    assert apart([LEFT, RIGHT]) == apart([LEFT]) == 1
    assert apart([LEFT, LEFT, RIGHT]) == 0
    assert apart([LEFT, HALF]) == pytest.approx(1 - 0.25 / 0.75)
    assert apart([]) == 0


def test_regions_are_to_be_neither_tiny_nor_huge():
    assert sized([LEFT, [0, 0, 0.1, 0.1]]) == 1
    assert sized([LEFT, [0, 0, 0.09, 0.1], [0, 0, 1, 0.51]]) == pytest.approx(1 / 3)
    assert sized([]) == 0


def test_regions_are_to_cover_the_true_boxes():
    true = [[0.1, 0.1, 0.2, 0.2], [0.4, 0.4, 0.58, 0.5], [0.8, 0.1, 0.9, 0.2]]
    assert covered([LEFT], true) == pytest.approx(2 / 3)
    assert covered([LEFT, RIGHT], true) == 1
    assert covered([], true) == 0
    assert covered([LEFT], []) is None


def test_the_task_is_paid_by_precision_and_recall():
    true = [[0.1, 0.1, 0.2, 0.2], [0.5, 0.5, 0.6, 0.6]]
    assert precision_and_recall(true, true) == recall(true, true) == 1
    assert recall(true[:1], true) == 0.5
    assert precision_and_recall(true[:1], true) == pytest.approx(0.5, abs=0.01)
    assert precision_and_recall([], true) == recall([], true) == 0
    assert precision_and_recall([true[0], true[0], true[1]], true) < 1
    assert precision_and_recall(true, []) is recall(true, []) is None
