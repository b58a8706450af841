"""Rewards of one thing pointed out by a box and two points, each part by how near it is (Omni-R1, 2505.20256)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gamutrl.functional.geometry import box_iou, point_distance
from gamutrl.functional.matching import hungarian
from gamutrl.rewards.boxes import Overlap


def within(distance: float, limit: float, full: float) -> float:
    """1 up to a distance of `full`, falling linearly to 0 at the limit."""
    return min(max((limit - distance) / (limit - full), 0.0), 1.0)


def box_nearness(box: Sequence[float], true: Sequence[float], *, overlap: Overlap = box_iou) -> float:
    """Twice the IoU beyond a half, plus 0.4 if there is any, plus 1 for near sides (10 to 30 pixels); at most 2.4."""
    iou = float(overlap(box, true))
    off = sum(abs(a - b) for a, b in zip(box, true)) / len(true)
    return 2 * max(0.0, iou - 0.5) + 0.4 * (iou > 0.5) + within(off, 30, 10)


def points_nearness(points: Any, true: Any) -> float:
    """1 for points that lie near the true ones (100 to 150 pixels on average), whichever of them is whose."""
    apart_NM = point_distance(points, true)
    pairs = hungarian(-apart_NM)
    return within(float(apart_NM[pairs[:, 0], pairs[:, 1]].mean()), 150, 100)
