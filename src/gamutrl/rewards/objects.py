"""Rewards of several objects found at once, each a box with a name or a point: matched, then counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gamutrl.functional.geometry import as_boxes, box_giou, box_iou, point_distance, points_in_boxes
from gamutrl.functional.matching import hungarian
from gamutrl.rewards.boxes import Overlap, Read, Size, in_answer, same_label, to_frame
from gamutrl.rewards.parsing import Detection, detections

Steps = tuple[float, float]
"""`(low, high)`: below low counts as 0, above high as 1, between as it is."""


def stepped(value_K: Tensor, steps: Steps) -> Tensor:
    """Values with `steps` applied, element by element."""
    low, high = steps
    return torch.where(value_K < low, 0.0, torch.where(value_K > high, 1.0, value_K))


def paired_overlaps(found: Sequence[Detection], true: Sequence[Detection], overlap: Overlap = box_giou) -> Tensor:
    """The overlaps `[K]` of predictions with truths, paired by nearness, name and overlap (Vision-R1, 2503.18013).

    A pair's score is its overlap, plus 1 if the names agree, less the L1 distance of corners in the truth's units.
    """
    found_N4, true_M4 = as_boxes([d.box for d in found]), as_boxes([d.box for d in true])
    overlap_NM = overlap(found_N4, true_M4)
    near_NM = overlap_NM + same_label(found, true).to(overlap_NM.dtype) - torch.cdist(found_N4, true_M4, p=1)
    pairs = hungarian(near_NM)
    return overlap_NM[pairs[:, 0], pairs[:, 1]]


def detection_precision(
    text: str,
    answer: Any,
    frame: Size | None = None,
    answer_frame: Size | None = None,
    *,
    read: Read = in_answer,
    steps: Steps = (0.0, 1.0),
    surplus: bool = True,
    overlap: Overlap = box_giou,
) -> float:
    """The mean overlap of the boxes written with their objects, stepped. In [0, 1].

    surplus: boxes that have no object count as 0; without it (as released) any number of them costs nothing.
    """
    found, true = read(text), detections(answer)
    if not found or not true:
        return float(found == [] and not true)
    found = _in_frame(found, frame, answer_frame)
    overlap_K = stepped(paired_overlaps(found, true, overlap), steps)
    return float(overlap_K.sum()) / (len(found) if surplus else len(overlap_K))


def detection_recall(
    text: str,
    answer: Any,
    frame: Size | None = None,
    answer_frame: Size | None = None,
    *,
    read: Read = in_answer,
    steps: Steps = (0.5, 0.5),
    value_steps: Steps = (0.0, 1.0),
    overlap: Overlap = box_giou,
) -> float:
    """The share of objects that a box finds, each stepped by its overlap, and the share stepped again. In [0, 1]."""
    found, true = read(text), detections(answer)
    if not found or not true:
        return float(found == [] and not true)
    overlap_K = stepped(paired_overlaps(_in_frame(found, frame, answer_frame), true, overlap), steps)
    return float(stepped(overlap_K.sum() / len(true), value_steps))


def box_and_point_score(
    text: str,
    answer: Any,
    *,
    read: Read = in_answer,
    iou_above: float = 0.5,
    corners_within: float = 10.0,
    point_within: float = 30.0,
    most: int = 120,
    overlap: Overlap = box_iou,
) -> float:
    """Three marks an object, over the larger of the two counts: in [0, 3] (VisionReasoner, 2505.12081).

    The box overlaps; its corners are near (mean absolute difference); its point is near and inside the predicted box.
    Objects are paired for the best total. Distances in pixels. At most so many objects of each are looked at.
    """
    found, true = read(text), detections(answer)
    if not found or not true:
        return 3.0 * (found == [] and not true)
    found, true = list(found)[:most], true[:most]
    found_N4, true_M4 = as_boxes([d.box for d in found]), as_boxes([d.box for d in true])
    points_N2, points_M2 = (as_boxes([d.point or (torch.inf,) * 2 for d in ds], 2) for ds in (found, true))
    inside_N = points_in_boxes(points_N2, found_N4).diagonal()
    score_NM = (
        (overlap(found_N4, true_M4) > iou_above).double()
        + (torch.cdist(found_N4, true_M4, p=1) / 4 < corners_within).double()
        + ((point_distance(points_N2, points_M2) < point_within) & inside_N[:, None]).double()
    )
    pairs = hungarian(score_NM)
    return float(score_NM[pairs[:, 0], pairs[:, 1]].sum()) / max(len(found), len(true))


def _in_frame(found: Sequence[Detection], frame: Size | None, answer_frame: Size | None) -> list[Detection]:
    rows = to_frame([d.box for d in found], frame, answer_frame).tolist()
    return [Detection((a, b, c, e), d.label, d.score, d.point) for d, (a, b, c, e) in zip(found, rows)]
