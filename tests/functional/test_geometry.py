"""Overlap of boxes, spans, masks and points."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gamutrl.functional import geometry as g

coordinate = st.integers(-50, 50)
boxes = st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), min_size=1, max_size=6)
spans = st.lists(st.tuples(coordinate, coordinate), max_size=8)


def painted(box_list):
    """The cells of a 101 x 101 canvas that integer boxes cover: an independent count of the same areas."""
    canvas = np.zeros((101, 101), dtype=bool)
    for x1, y1, x2, y2 in box_list:
        canvas[min(y1, y2) + 50 : max(y1, y2) + 50, min(x1, x2) + 50 : max(x1, x2) + 50] = True
    return canvas


@given(boxes, boxes)
def test_iou_of_ordered_corners_counts_cells(a, b):
    got = g.box_iou(a, b, inverted="sorted")
    for i, box_a in enumerate(a):
        for j, box_b in enumerate(b):
            assert got[i, j] == pytest.approx(g.mask_iou(painted([box_a]), painted([box_b])))


@given(boxes, boxes)
def test_union_iou_counts_cells_once(a, b):
    assert g.union_iou(a, b) == pytest.approx(g.mask_iou(painted(a), painted(b)))


@given(boxes, boxes)
def test_giou_never_exceeds_iou_and_stays_in_range(a, b):
    iou, giou = g.box_iou(a, b), g.box_giou(a, b, inverted="sorted")
    assert (giou <= g.box_iou(a, b, inverted="sorted") + 1e-12).all()
    assert ((giou >= -1) & (giou <= 1) & (iou >= 0) & (iou <= 1)).all()


@given(boxes)
def test_iou_is_symmetric(a):
    iou = g.box_iou(a, a)
    assert torch.equal(iou, iou.T)


def test_counting_the_last_pixel_widens_boxes_and_overlap():
    assert g.box_iou([[0, 0, 9, 9]], [[9, 9, 18, 18]], pixels=1).item() == pytest.approx(1 / 199)
    assert g.box_iou([[0, 0, 9, 9]], [[9, 9, 18, 18]]).item() == 0


def test_an_overlap_no_wider_than_the_least_is_none():
    assert g.box_iou([[0, 0, 10, 10]], [[9, 9, 20, 20]], min_overlap=1).item() == 0
    assert g.box_iou([[0, 0, 10, 10]], [[8, 8, 20, 20]], min_overlap=1).item() == pytest.approx(4 / 240)


def test_an_inverted_box_is_empty_signed_or_reordered():
    inverted, plain = [[10, 10, 0, 0]], [[0, 0, 10, 10]]
    assert g.box_iou(inverted, plain).item() == 0
    assert g.box_iou(inverted, plain, inverted="sorted").item() == 1
    assert g.box_iou([[8, 2, 2, 8]], [[0, 0, 10, 10]], inverted="signed").item() == 0


def test_empty_sets_and_empty_unions_give_zero():
    assert g.box_iou([], [[0, 0, 1, 1]]).shape == (0, 1)
    assert g.box_iou([[3, 3, 3, 3]], [[3, 3, 3, 3]]).item() == 0
    assert g.union_iou([], []) == 0
    assert g.mask_iou(torch.zeros(2, 2), torch.zeros(2, 2), both_empty=1.0) == 1


def test_boxes_in_space():
    assert g.box3d_iou([[0, 0, 0, 2, 2, 2]], [[1, 1, 1, 3, 3, 3]]).item() == pytest.approx(1 / 15)


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        g.mask_iou(torch.zeros(2, 2), torch.zeros(2, 3))


def test_points_on_the_border_are_inside():
    assert g.points_in_boxes([[0, 5], [11, 5]], [[0, 0, 10, 10]]).tolist() == [[True], [False]]
    assert g.point_distance([[0, 0]], [[3, 4]]).item() == 5
    assert g.box_centers([[0, 2, 4, 4]]).tolist() == [[2, 3]]


@given(spans, spans)
def test_sets_of_spans_count_covered_time(a, b):
    def seconds(span_list):
        line = np.zeros(101, dtype=bool)
        for start, end in span_list:
            line[start + 50 : max(start, end) + 50] = True
        return line

    covered_a, covered_b = seconds(a), seconds(b)
    union = (covered_a | covered_b).sum()
    want = (covered_a & covered_b).sum() / union if union else 1.0
    assert g.span_set_iou(a, b) == pytest.approx(want)


def test_spans_apart_differ_by_denominator_only_where_they_overlap_not_at_all():
    assert g.span_iou((0, 4), (2, 8)) == g.span_iou((0, 4), (2, 8), denominator="hull") == 0.25
    assert g.span_iou((0, 1), (5, 6)) == g.span_iou((0, 1), (5, 6), denominator="hull") == 0
    assert g.span_iou((8, 2), (2, 8), denominator="hull") == 0
    assert g.span_iou((3, 3), (3, 3), zero_length=1.0) == 1


def test_thousands_of_boxes_are_no_trouble():
    many = torch.rand(2000, 4, dtype=torch.float64)
    assert 0 <= g.union_iou(many, many[:10]) <= 1
    assert g.box_iou(many, many[:10]).shape == (2000, 10)
