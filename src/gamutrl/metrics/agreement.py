"""How well a whole set of answers agrees with the truth: classes, scores, boxes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from scipy import stats

from gamutrl.functional.matching import COCO_THRESHOLDS, average_precision
from gamutrl.rewards.parsing import Detection


def accuracy(given: Sequence[Hashable], truth: Sequence[Hashable]) -> float:
    """The share of answers that are the true ones; NaN without any."""
    _same_length(given, truth)
    return sum(g == t for g, t in zip(given, truth)) / len(truth) if truth else math.nan


def average_recall(given: Sequence[Hashable], truth: Sequence[Hashable]) -> float:
    """Recall averaged over the classes of the truth (unweighted average recall): a constant answer gets 1 / classes."""
    _same_length(given, truth)
    right, all_of = Counter(t for g, t in zip(given, truth) if g == t), Counter(truth)
    return float(np.mean([right[label] / count for label, count in all_of.items()])) if truth else math.nan


def macro_f1(given: Sequence[Hashable], truth: Sequence[Hashable]) -> float:
    """F1 averaged over the classes of the truth."""
    _same_length(given, truth)
    right, said, asked = Counter(t for g, t in zip(given, truth) if g == t), Counter(given), Counter(truth)
    return float(np.mean([2 * right[label] / (said[label] + asked[label]) for label in asked])) if truth else math.nan


def set_f1(given: Sequence[set[str]], truth: Sequence[set[str]]) -> float:
    """F1 of all items of all rows together (micro-averaged)."""
    _same_length(given, truth)
    hits = sum(len(g & t) for g, t in zip(given, truth))
    total = sum(len(g) + len(t) for g, t in zip(given, truth))
    return 2 * hits / total if total else math.nan


def rank_correlation(score: Sequence[float], truth: Sequence[float]) -> float:
    """Spearman's rank correlation (SRCC) over the rows that have a score; NaN where either never varies."""
    return _correlation(stats.spearmanr, score, truth)


def linear_correlation(score: Sequence[float], truth: Sequence[float]) -> float:
    """Pearson's correlation (PLCC) over the rows that have a score; NaN where either never varies."""
    return _correlation(stats.pearsonr, score, truth)


def detection_precision(
    found: Sequence[Sequence[Detection]],
    true: Sequence[Sequence[Detection]],
    thresholds: Sequence[float] = COCO_THRESHOLDS,
) -> float:
    """COCO's average precision over a set of images; a box without a confidence is as sure as any."""
    _same_length(found, true)
    said = [(image, d) for image, ds in enumerate(found) for d in ds]
    asked = [(image, d) for image, ds in enumerate(true) for d in ds]
    return average_precision(
        [d.box for _, d in said],
        [d.box for _, d in asked],
        pred_label_N=[d.label for _, d in said],
        true_label_M=[d.label for _, d in asked],
        score_N=[1.0 if d.score is None else d.score for _, d in said],
        pred_image_N=[image for image, _ in said],
        true_image_M=[image for image, _ in asked],
        thresholds=thresholds,
    )


def by_kind(values: Sequence[float], kinds: Sequence[Hashable]) -> Mapping[Hashable, float]:
    """The mean of each kind of row, in the order in which kinds first occur."""
    _same_length(values, kinds)
    return {kind: float(np.mean([v for v, k in zip(values, kinds) if k == kind])) for kind in dict.fromkeys(kinds)}


def _correlation(measure: object, score: Sequence[float], truth: Sequence[float]) -> float:
    _same_length(score, truth)
    x, y = np.asarray(score, dtype=float), np.asarray(truth, dtype=float)
    scored = np.isfinite(x) & np.isfinite(y)
    x, y = x[scored], y[scored]
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return math.nan
    return float(measure(x, y).statistic)  # type: ignore[operator]


def _same_length(one: Sequence[object], other: Sequence[object]) -> None:
    if len(one) != len(other):
        raise ValueError(f"A measure needs one truth for each answer: {len(one)} answers, {len(other)} truths.")
