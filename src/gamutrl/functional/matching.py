"""Which prediction answers which truth, and average precision.

Every rule takes `score_NM` (N predictions, M truths, higher is better) and `allowed_NM` (pairs that may be made at all,
bool; None: all), and returns `pairs_K2`, int64, in increasing order of prediction. A pair whose score is not finite is
never made.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gamutrl.functional.geometry import as_boxes, box_iou

COCO_THRESHOLDS = tuple(0.5 + 0.05 * i for i in range(10))


def hungarian(score_NM: Any, allowed_NM: Any = None) -> Tensor:
    """One to one, with the largest total score; a pair that is not allowed adds nothing and is left out."""
    score, allowed = _arrays(score_NM, allowed_NM)
    rows, columns = linear_sum_assignment(score, maximize=True)
    keep = allowed[rows, columns]
    return _pairs(list(zip(rows[keep], columns[keep])))


def best_pair_first(score_NM: Any, allowed_NM: Any = None) -> Tensor:
    """One to one, the best remaining pair first (ties: lowest prediction, then lowest truth)."""
    score, allowed = _arrays(score_NM, allowed_NM)
    rows, columns = np.nonzero(allowed)
    pairs, used_n, used_m = [], set(), set()
    for k in np.argsort(-score[rows, columns], kind="stable"):
        n, m = int(rows[k]), int(columns[k])
        if n not in used_n and m not in used_m:
            pairs.append((n, m))
            used_n.add(n)
            used_m.add(m)
    return _pairs(pairs)


def by_prediction(score_NM: Any, allowed_NM: Any = None, order_N: Sequence[int] | None = None) -> Tensor:
    """One to one: each prediction, in `order_N` (default: as given), takes the best truth left (ties: the first)."""
    score, allowed = _arrays(score_NM, allowed_NM)
    return _greedy(score, allowed, range(len(score)) if order_N is None else order_N)


def by_truth(score_NM: Any, allowed_NM: Any = None) -> Tensor:
    """One to one: each truth, in order, takes the best prediction left (ties: the first)."""
    score, allowed = _arrays(score_NM, allowed_NM)
    return _pairs([(n, m) for m, n in _greedy(score.T, allowed.T, range(score.shape[1])).tolist()])


def reuse(score_NM: Any, allowed_NM: Any = None) -> Tensor:
    """Each truth takes its best prediction, which another truth may take as well (ties: the first)."""
    score, allowed = _arrays(score_NM, allowed_NM)
    best_M = np.where(allowed, score, -np.inf)
    truths = np.nonzero(allowed.any(0))[0]
    return _pairs([(int(best_M[:, m].argmax()), int(m)) for m in truths])


def average_precision(
    pred_N4: Any,
    true_M4: Any,
    *,
    pred_label_N: Sequence[Hashable] | None = None,
    true_label_M: Sequence[Hashable] | None = None,
    score_N: Sequence[float] | None = None,
    pred_image_N: Sequence[Hashable] | None = None,
    true_image_M: Sequence[Hashable] | None = None,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    max_detections: int = 100,
) -> float:
    """COCO's average precision of boxes, averaged over IoU thresholds and over the labels that occur among the truths.

    Predictions of other labels count for nothing. Without scores all predictions are equally sure and keep their order;
    without images all boxes belong to one. At most `max_detections` per image and label count. NaN without any truth.
    Source: the COCO evaluation (101 recall points, interpolated precision, boxes without +1).
    """
    pred_N4, true_M4 = as_boxes(pred_N4), as_boxes(true_M4)
    n, m = len(pred_N4), len(true_M4)
    pred_label_N, true_label_M = pred_label_N or [None] * n, true_label_M or [None] * m
    pred_image_N, true_image_M = pred_image_N or [None] * n, true_image_M or [None] * m
    scores = np.ones(n) if score_N is None else np.asarray(score_N, dtype=np.float64)
    pred_of, true_of = _by_label(pred_label_N, pred_image_N), _by_label(true_label_M, true_image_M)
    values = []
    for label, truths_in in true_of.items():
        iou_of, sure = [], []
        for image, predictions in pred_of.get(label, {}).items():
            ordered = sorted(predictions, key=lambda i: -scores[i])[:max_detections]
            iou_of.append(box_iou(pred_N4[ordered], true_M4[truths_in.get(image, [])]).numpy())
            sure.append(scores[ordered])
        n_true = sum(len(truths) for truths in truths_in.values())
        for threshold in thresholds:
            values.append(_interpolated([_hits(iou, threshold) for iou in iou_of], sure, n_true))
    return float(np.mean(values)) if values else float("nan")


def _by_label(labels: Sequence[Hashable], images: Sequence[Hashable]) -> dict[Hashable, dict[Hashable, list[int]]]:
    found: dict[Hashable, dict[Hashable, list[int]]] = {}
    for i, (label, image) in enumerate(zip(labels, images)):
        found.setdefault(label, {}).setdefault(image, []).append(i)
    return found


def _hits(iou_NM: np.ndarray, threshold: float) -> np.ndarray:
    """Which predictions find a truth of their own, in order; among equal overlaps COCO takes the last truth."""
    free_M = np.ones(iou_NM.shape[1], dtype=bool)
    hit_N = np.zeros(len(iou_NM), dtype=bool)
    floor = min(threshold, 1 - 1e-10)
    for n, iou_M in enumerate(iou_NM):
        candidate_M = np.where(free_M & (iou_M >= floor), iou_M, -1.0)
        if len(candidate_M) and candidate_M.max() >= 0:
            free_M[len(candidate_M) - 1 - candidate_M[::-1].argmax()] = False
            hit_N[n] = True
    return hit_N


def _interpolated(hits: list[np.ndarray], scores: list[np.ndarray], n_true: int) -> float:
    if not hits:
        return 0.0
    hit = np.concatenate(hits)[np.argsort(-np.concatenate(scores), kind="stable")]
    found = hit.cumsum()
    recall = found / n_true
    precision = found / (np.arange(1, len(hit) + 1) + np.spacing(1))
    best_from = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.mean(np.append(best_from, 0.0)[np.minimum(at, len(best_from))]))


def _greedy(score: np.ndarray, allowed: np.ndarray, order: Sequence[int] | range) -> Tensor:
    free = np.ones(score.shape[1], dtype=bool)
    pairs = []
    for n in order:
        open_to_n = allowed[n] & free
        if open_to_n.any():
            best = int(np.where(open_to_n, score[n], -np.inf).argmax())
            free[best] = False
            pairs.append((int(n), best))
    return _pairs(pairs)


def _arrays(score_NM: Any, allowed_NM: Any) -> tuple[np.ndarray, np.ndarray]:
    score = np.asarray(score_NM, dtype=np.float64)
    if score.ndim != 2:
        raise ValueError(f"Scores of pairs must have the axes [N, M], not the shape {list(score.shape)}.")
    allowed = np.isfinite(score) if allowed_NM is None else np.isfinite(score) & np.asarray(allowed_NM, dtype=bool)
    return np.where(allowed, score, 0.0), allowed


def _pairs(pairs: Sequence[tuple[int, int]]) -> Tensor:
    return torch.tensor(sorted((int(n), int(m)) for n, m in pairs), dtype=torch.long).reshape(-1, 2)
