"""Boxes, points, masks and time spans: overlap under every convention that published code uses.

Boxes are `[x1, y1, x2, y2]`, 3-D boxes `[x1, y1, z1, x2, y2, z2]`, spans `[start, end]`. Arguments may be tensors or
nested lists; lists become float64, in which a box written with many digits keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Inverted = Literal["zero", "signed", "sorted"]
"""What a box whose second corner lies before its first is: empty ("zero"), a box of signed extents, as published
code without a check has it ("signed"), or the box of its re-ordered corners ("sorted")."""


def as_boxes(boxes: Any, size: int = 4) -> Tensor:
    """Anything list-like to `[N, size]`, float64 unless it is a floating tensor already."""
    if not (isinstance(boxes, Tensor) and boxes.is_floating_point()):
        boxes = torch.as_tensor(np.asarray(boxes, dtype=np.float64))
    return boxes.reshape(-1, size)


def box_iou(
    a_N4: Any, b_M4: Any, *, pixels: float = 0.0, min_overlap: float = 0.0, inverted: Inverted = "zero"
) -> Tensor:
    """Intersection over union of every pair of boxes.

    pixels: added to every extent; 1 counts a box's last pixel in (VisionReasoner, Omni-R1). min_overlap: an overlap of
    at most this much on either axis is none; 1 is what `x2 - 1` in an intersection comes to (VLM-R1, UniVG-R1,
    Jigsaw-R1). Returns iou `[N, M]`; 0 where a union is 0.
    """
    return _iou(as_boxes(a_N4), as_boxes(b_M4), 2, pixels, min_overlap, inverted)


def box3d_iou(a_N6: Any, b_M6: Any, *, inverted: Inverted = "zero") -> Tensor:
    """Intersection over union of axis-aligned 3-D boxes, `[N, M]`."""
    return _iou(as_boxes(a_N6, 6), as_boxes(b_M6, 6), 3, 0.0, 0.0, inverted)


def box_giou(a_N4: Any, b_M4: Any, *, inverted: Inverted = "zero") -> Tensor:
    """Generalised IoU of every pair, in [-1, 1]: IoU less the empty share of the smallest box around both.

    Source: Rezatofighi et al. 2019 (arXiv 1902.09630), eq. 3. Returns `[N, M]`; a hull of no area gives the IoU alone.
    """
    a_N4, b_M4 = _ordered(as_boxes(a_N4), 2, inverted), _ordered(as_boxes(b_M4), 2, inverted)
    intersection_NM, union_NM = _overlap(a_N4, b_M4, 2, 0.0, 0.0, inverted)
    low_NM2 = torch.minimum(a_N4[:, None, :2], b_M4[None, :, :2])
    high_NM2 = torch.maximum(a_N4[:, None, 2:], b_M4[None, :, 2:])
    hull_NM = (high_NM2 - low_NM2).prod(-1)
    return _ratio(intersection_NM, union_NM) - _ratio(hull_NM - union_NM, hull_NM)


def union_iou(a_N4: Any, b_M4: Any, *, eps: float = 0.0) -> float:
    """IoU of the areas that two sets of boxes cover, overlaps counted once (SATORI-R1); 0 where both cover nothing.

    Corners are put in order first. eps is added to the union's area.
    """
    a, b = (np.asarray(_ordered(as_boxes(boxes), 2, "sorted")) for boxes in (a_N4, b_M4))
    area_a, area_b, union = _covered(a), _covered(b), _covered(np.concatenate([a, b]))
    return float((area_a + area_b - union) / (union + eps)) if union + eps > 0 else 0.0


def mask_iou(a_HW: Any, b_HW: Any, *, both_empty: float = 0.0) -> float:
    """IoU of two boolean masks of one shape."""
    a, b = torch.as_tensor(a_HW).bool(), torch.as_tensor(b_HW).bool()
    if a.shape != b.shape:
        raise ValueError(f"Masks must have one shape, not {list(a.shape)} and {list(b.shape)}.")
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else both_empty


def box_centers(box_N4: Any) -> Tensor:
    """The middle of each box, `[N, 2]`."""
    box_N4 = as_boxes(box_N4)
    return (box_N4[:, :2] + box_N4[:, 2:]) / 2


def points_in_boxes(point_N2: Any, box_M4: Any) -> Tensor:
    """Whether a point lies in a box, borders included, bool `[N, M]`."""
    point_N2, box_M4 = as_boxes(point_N2, 2), as_boxes(box_M4)
    after_NM2 = point_N2[:, None] >= box_M4[None, :, :2]
    before_NM2 = point_N2[:, None] <= box_M4[None, :, 2:]
    return (after_NM2 & before_NM2).all(-1)


def point_distance(a_N2: Any, b_M2: Any) -> Tensor:
    """Euclidean distance of every pair of points, `[N, M]`."""
    return (as_boxes(a_N2, 2)[:, None] - as_boxes(b_M2, 2)[None]).norm(dim=-1)


def span_iou(
    pred_2: Sequence[float],
    true_2: Sequence[float],
    *,
    denominator: Literal["union", "hull"] = "union",
    zero_length: float = 0.0,
) -> float:
    """Intersection over union of two time spans.

    denominator: "hull" divides by `max(end) - min(start)` (Time-R1, VideoChat-R1), the same as the union unless the
    spans lie apart or one is inverted. zero_length: the value where the denominator is 0.
    """
    (s, e), (t, f) = pred_2, true_2
    intersection = max(0.0, min(e, f) - max(s, t))
    whole = max(e, f) - min(s, t) if denominator == "hull" else (e - s) + (f - t) - intersection
    return intersection / whole if whole else zero_length


def merge_spans(span_N2: Any) -> Tensor:
    """The same time covered by spans that do not touch, in order, `[K, 2]`; inverted spans cover nothing."""
    merged: list[list[float]] = []
    for start, end in sorted(span for span in as_boxes(span_N2, 2).tolist() if span[0] <= span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return as_boxes(merged, 2)


def span_set_iou(pred_N2: Any, true_M2: Any, *, both_empty: float = 1.0, merged: bool = True) -> float:
    """IoU of the time that two sets of spans cover.

    both_empty: the value where neither covers any time (VideoChat-R1, VAU-R1, AV-Reasoner: 1). merged: time that two
    spans of a set cover counts once; otherwise twice (released EchoInk-R1).
    """
    pred, true = (merge_spans(spans) if merged else as_boxes(spans, 2) for spans in (pred_N2, true_M2))
    starts = torch.maximum(pred[:, None, 0], true[None, :, 0])
    ends = torch.minimum(pred[:, None, 1], true[None, :, 1])
    intersection = float((ends - starts).clamp(min=0).sum())
    union = float((pred[:, 1] - pred[:, 0]).sum() + (true[:, 1] - true[:, 0]).sum()) - intersection
    return intersection / union if union > 0 else both_empty


def _iou(a: Tensor, b: Tensor, d: int, pixels: float, min_overlap: float, inverted: Inverted) -> Tensor:
    return _ratio(*_overlap(_ordered(a, d, inverted), _ordered(b, d, inverted), d, pixels, min_overlap, inverted))


def _ordered(box: Tensor, d: int, inverted: Inverted) -> Tensor:
    if inverted != "sorted":
        return box
    return torch.cat([torch.minimum(box[:, :d], box[:, d:]), torch.maximum(box[:, :d], box[:, d:])], 1)


def _overlap(
    a: Tensor, b: Tensor, d: int, pixels: float, min_overlap: float, inverted: Inverted
) -> tuple[Tensor, Tensor]:
    """Intersection and union of every pair, `[N, M]` each."""
    extent_a, extent_b = a[:, d:] - a[:, :d] + pixels, b[:, d:] - b[:, :d] + pixels
    if inverted == "zero":
        extent_a, extent_b = extent_a.clamp(min=0), extent_b.clamp(min=0)
    overlap_NMd = torch.minimum(a[:, None, d:], b[None, :, d:]) - torch.maximum(a[:, None, :d], b[None, :, :d]) + pixels
    overlap_NMd = torch.where(overlap_NMd > min_overlap, overlap_NMd, 0.0).clamp(min=0)
    intersection_NM = overlap_NMd.prod(-1)
    return intersection_NM, extent_a.prod(-1)[:, None] + extent_b.prod(-1)[None] - intersection_NM


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole == 0, torch.zeros_like(whole), part / torch.where(whole == 0, 1.0, whole))


def _covered(box_N4: np.ndarray) -> float:
    """The area that boxes cover, by vertical slabs between neighbouring edges: O(N) memory."""
    edges = np.unique(box_N4[:, [0, 2]])
    box_N4 = box_N4[np.argsort(box_N4[:, 1], kind="stable")]
    area = 0.0
    for left, right in pairwise(edges):
        rows = box_N4[(box_N4[:, 0] <= left) & (box_N4[:, 2] >= right)]
        if len(rows):
            reached = np.maximum.accumulate(np.concatenate([rows[:1, 1], rows[:-1, 3]]))
            area += (right - left) * np.clip(rows[:, 3] - np.maximum(rows[:, 1], reached), 0, None).sum()
    return area
