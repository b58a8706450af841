"""Rewards of boxes: one object found, all objects found, how sure, and average precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from gamutrl.functional.geometry import as_boxes, box_iou
from gamutrl.functional.matching import (
    COCO_THRESHOLDS,
    average_precision,
    best_pair_first,
    by_prediction,
    by_truth,
    hungarian,
)
from gamutrl.rewards.parsing import Detection, boxes_in, detections
from gamutrl.rewards.tags import Tag, tag_text

Size = Sequence[float]
"""The frame that coordinates are measured in: `(width, height)` in pixels, `(1, 1)` for fractions, `(1000, 1000)`."""

Read = Callable[[str], list[Detection] | None]
"""How the boxes of a completion are found: `in_answer` with its options, `boxes_in` for the whole text. None is no
answer, which scores 0, while an empty list says that there is no such object."""

Overlap = Callable[[Any, Any], Tensor]
"""`(a_N4, b_M4) -> overlap_NM`: `box_iou` with its conventions, `box_giou`."""


def to_frame(box_N4: Any, source: Size | None, target: Size | None) -> Tensor:
    """Boxes measured in one frame, measured in another; unchanged where either is unknown. `[N, 4]`."""
    box_N4 = as_boxes(box_N4)
    if source is None or target is None:
        return box_N4
    return box_N4 * (as_boxes([*target, *target]) / as_boxes([*source, *source]))


def in_answer(
    text: str,
    tag: Tag = "answer",
    *,
    which: Literal["first", "last"] = "first",
    missing: Literal["empty", "whole"] | None = None,
    multiline: bool = True,
) -> list[Detection] | None:
    """The boxes that a completion gives as its tagged answer; None where it gives no answer."""
    given = tag_text(text, tag, which=which, missing=missing, multiline=multiline)
    return None if given is None else boxes_in(given)


def box_score(
    text: str,
    answer: Any,
    frame: Size | None = None,
    answer_frame: Size | None = None,
    *,
    read: Read = in_answer,
    overlap: Overlap = box_iou,
    power: float = 1.0,
    at_least: float | None = None,
) -> float:
    """Overlap of the first box written with the true one, to a power; or 1 if it reaches `at_least`, else 0.

    frame, answer_frame: what the two are measured in, where it is not the same. VLM-R1 (power 1), Perception-R1 (2).
    """
    found, true = read(text), detections(answer)
    if not found or not true:
        return 0.0
    value = float(overlap(to_frame(found[0].box, frame, answer_frame), true[0].box))
    return float(value >= at_least) if at_least is not None else value**power


def detection_iou(
    text: str,
    answer: Any,
    frame: Size | None = None,
    answer_frame: Size | None = None,
    *,
    read: Read = in_answer,
    above: float = 0.5,
    labels: bool = False,
    overlap: Overlap = box_iou,
    over: Literal["larger", "predictions"] = "larger",
) -> float:
    """The IoU of each box that finds a true one of its own, summed, over the larger of the two counts. In [0, 1].

    Predictions choose in the order of their confidence and must overlap by more than `above`; a box written twice
    counts once. labels: only boxes of one label are paired. over: "predictions" divides by their count alone, so that
    objects left out cost nothing. No object and none found is 1. Source: Visual-RFT (2503.01785).
    """
    found, true = read(text), detections(answer)
    if not found or not true:
        return float(found == [] and not true)
    found = distinct(found)
    iou_NM = overlap(to_frame([d.box for d in found], frame, answer_frame), [d.box for d in true])
    pairs = by_prediction(iou_NM, (iou_NM > above) & _may_pair(found, true, labels), _surest_first(found))
    count = max(len(found), len(true)) if over == "larger" else len(found)
    return float(iou_NM[pairs[:, 0], pairs[:, 1]].sum()) / count


def detection_hits(
    text: str,
    answer: Any,
    frame: Size | None = None,
    answer_frame: Size | None = None,
    *,
    read: Read = in_answer,
    above: float = 0.5,
    labels: bool = False,
) -> float:
    """The share of objects found: boxes paired as in `detection_iou`, over the larger of the two counts. In [0, 1]."""
    found, true = read(text), detections(answer)
    if not found or not true:
        return float(found == [] and not true)
    found = distinct(found)
    iou_NM = box_iou(to_frame([d.box for d in found], frame, answer_frame), [d.box for d in true])
    pairs = by_prediction(iou_NM, (iou_NM > above) & _may_pair(found, true, labels), _surest_first(found))
    return len(pairs) / max(len(found), len(true))


def detection_confidence(
    text: str,
    answer: Any,
    frame: Size | None = None,
    answer_frame: Size | None = None,
    *,
    read: Read = in_answer,
    above: float = 0.5,
    overlap: Overlap = box_iou,
) -> float:
    """How well stated confidence agrees with being right: the mean of c for a box that finds an object, else 1 - c.

    Boxes are paired as in `detection_iou`; one without a confidence earns nothing. Source: Visual-RFT (2503.01785).
    """
    found, true = read(text), detections(answer)
    if not found:
        return float(found == [] and not true)
    found = distinct(found)
    iou_NM = overlap(to_frame([d.box for d in found], frame, answer_frame), as_boxes([d.box for d in true]))
    right = set(by_prediction(iou_NM, iou_NM > above, _surest_first(found))[:, 0].tolist())
    agreed = [0.0 if d.score is None else d.score if n in right else 1 - d.score for n, d in enumerate(found)]
    return min(max(sum(agreed) / len(found), 0.0), 1.0)


def detection_ap(
    text: str,
    answer: Any,
    frame: Size | None = None,
    answer_frame: Size | None = None,
    *,
    read: Read = in_answer,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    length_factor: bool = True,
) -> float:
    """COCO's AP of the boxes written, times n_true / n_written where more were written than there are. In [0, 1].

    The factor is what keeps a policy from spraying boxes, which AP without confidences hardly punishes. No object and
    none written is 1. Source: VLM-R1 (2504.07615), its odLength reward; without the factor its baseline.
    """
    found, true = read(text), detections(answer)
    if not found or not true:
        return float(found == [] and not true)
    labelled = any(d.label is not None for d in true)
    precision = average_precision(
        to_frame([d.box for d in found], frame, answer_frame),
        [d.box for d in true],
        pred_label_N=[d.label for d in found] if labelled else None,
        true_label_M=[d.label for d in true] if labelled else None,
        thresholds=thresholds,
    )
    return precision * (min(1.0, len(true) / len(found)) if length_factor else 1.0)


def matched_score(
    text: str,
    answer: Any,
    frame: Size | None = None,
    answer_frame: Size | None = None,
    *,
    read: Read = in_answer,
    labels: bool = False,
    overlap: Overlap = box_iou,
    power: float = 1.0,
) -> float:
    """The best total overlap of any one-to-one pairing, over the larger of the two counts. In [0, 1].

    Order does not matter: that is the point of matching by the reward itself. Source: Perception-R1 (2504.07954), whose
    pair reward is the squared IoU (`power=2`).
    """
    found, true = read(text), detections(answer)
    if not found or not true:
        return float(found == [] and not true)
    score_NM = overlap(to_frame([d.box for d in found], frame, answer_frame), [d.box for d in true]) ** power
    pairs = hungarian(score_NM, _may_pair(found, true, labels))
    return float(score_NM[pairs[:, 0], pairs[:, 1]].sum()) / max(len(found), len(true))


def detection_balance(
    text: str,
    answer: Any,
    frame: Size | None = None,
    answer_frame: Size | None = None,
    *,
    read: Read = in_answer,
    at_least: float = 0.5,
    weights: tuple[float, float, float] = (0.7, 0.0, 0.3),
    labels_first: bool = False,
    overlap: Overlap = box_iou,
) -> float:
    """A weighted mean of position (IoU), labels, and completeness of the objects found. In [0, 1].

    Pairs are made best first; one with the wrong label counts as found but its IoU as 0. labels_first: each object in
    turn takes the best box of its own label (V-Triune). Position and labels are over the true objects, completeness is
    1 - (miss rate + false alarm rate) / 2. Source: VLM-R1's weighted_sum.
    """
    found, true = read(text), detections(answer)
    if not found or not true:
        return float(found == [] and not true)
    iou_NM = overlap(to_frame([d.box for d in found], frame, answer_frame), [d.box for d in true])
    named_NM = same_label(found, true)
    if labels_first:
        pairs = by_truth(iou_NM, (iou_NM >= at_least) & named_NM)
    else:
        pairs = best_pair_first(iou_NM, iou_NM >= at_least)
    right = pairs[named_NM[pairs[:, 0], pairs[:, 1]]]
    position, labels = float(iou_NM[right[:, 0], right[:, 1]].sum()) / len(true), len(right) / len(true)
    completeness = (len(pairs) / len(true) + len(pairs) / len(found)) / 2
    parts = (position, labels, completeness)
    return sum(weight * part for weight, part in zip(weights, parts)) / sum(weights)


def size_factor(found: int, true: int, *, base: float = 0.6) -> float:
    """base to the power of how many boxes there are too many or too few (V-Triune, 2505.18129)."""
    return base ** abs(found - true)


def box_count(text: str, answer: Any, *, read: Read = in_answer) -> float:
    """1 if as many boxes are written as there are objects, falling linearly with the relative error to 0."""
    found, true = read(text), detections(answer)
    return 0.0 if found is None else max(0.0, 1 - abs(len(found) - len(true)) / max(len(true), 1))


def distinct(found: Sequence[Detection]) -> list[Detection]:
    """The detections without those whose box was written before."""
    first: dict[tuple[float, ...], Detection] = {}
    for detection in found:
        first.setdefault(detection.box, detection)
    return list(first.values())


def _surest_first(found: Sequence[Detection]) -> list[int]:
    return sorted(range(len(found)), key=lambda n: -(found[n].score or 0.0))


def same_label(found: Sequence[Detection], true: Sequence[Detection]) -> Tensor:
    """Which pairs have one label, case and blanks aside, bool `[N, M]`."""
    said, asked = ([(d.label or "").strip().lower() for d in ds] for ds in (found, true))
    number = {label: i for i, label in enumerate(dict.fromkeys(said + asked))}
    return torch.tensor([number[label] for label in said])[:, None] == torch.tensor([number[label] for label in asked])


def _may_pair(found: Sequence[Detection], true: Sequence[Detection], labels: bool) -> Tensor:
    return same_label(found, true) if labels else torch.ones(len(found), len(true), dtype=torch.bool)
