"""Regions proposed in one turn: what lies in them is found, what lies elsewhere is not."""

from __future__ import annotations

from patience import bounded

from gamutrl.data.worlds import clutter
from gamutrl.environments.proposing import Proposing, regions_in
from gamutrl.environments.tools.detect import Exact

ROWS = clutter.rows("train", 4, task="regions", side=288, boxes="bbox_2d", form="think")
BOX = Proposing(Exact(clutter.detect))


def test_the_demonstrated_regions_find_every_target():
    for row in ROWS:
        step = BOX(row, 0).step(clutter.demonstrate(row))
        assert len(step.info["regions"]) == len(row.columns["evidence"])
        assert len(step.info["found"]) == len(row.columns["targets"])
        places = sorted([round(side * 72, 3) for side in one["bbox_2d"]] for one in step.info["found"])
        assert places == sorted([round(side, 3) for side in box] for box in row.columns["targets"])


def test_the_whole_page_is_too_small_to_find_anything_in():
    step = BOX(ROWS[0], 0).step('{"bbox_2d": [0, 0, 72, 72]}')
    assert (step.info["regions"], step.info["found"]) == ([[0, 0, 1, 1]], [])


def test_corners_are_put_in_order_and_boxes_without_area_left_out():
    said = '{"bbox_2d": [36, 36, 0, 0]} {"bbox_2d": [5, 5, 5, 9]} {"bbox_2d": ["a"]} {"bbox_2d": [99, 0, 120, 9]}'
    assert regions_in(said, (72, 72), 3) == [[0, 0, 0.5, 0.5]]
    assert len(regions_in('{"bbox_2d": [0, 0, 9, 9]}' * 5, (72, 72), 3)) == 3


def test_a_megabyte_is_read_in_time():
    for said in ('{"bbox_2d": [0, 0, 9, 9]}' * 40_000, "{" * 1_000_000, '{"bbox_2d": ' * 80_000):
        with bounded(said[:20]):
            assert BOX(ROWS[0], 0).step(said).done
