"""Rewards of regions to look at closely: apart from each other, of a size, over what is to be found, found there.

Boxes are in fractions of the picture. Their forms are ours, after the words of Active-O3 (arXiv 2505.21457).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from gamutrl.functional.geometry import box_centers, box_iou, points_in_boxes
from gamutrl.functional.matching import average_precision

Regions = Sequence[Sequence[float]]


def apart(regions: Regions) -> float:
    """1 − the largest IoU of two regions; 0 without any."""
    overlaps = [float(box_iou([a], [b])) for a, b in combinations(regions, 2)]
    return 1 - max(overlaps, default=0.0) if regions else 0.0


def sized(regions: Regions, low: float = 0.01, high: float = 0.5) -> float:
    """The share of regions that cover between so much and so much of the picture."""
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in regions]
    return sum(low <= area <= high for area in areas) / len(areas) if areas else 0.0


def covered(regions: Regions, true: Regions) -> float | None:
    """The share of true boxes whose middle lies in some region; None where there is none to find."""
    if not true:
        return None
    return float(points_in_boxes(box_centers(true), regions).any(1).float().mean()) if regions else 0.0


def recall(found: Regions, true: Regions) -> float | None:
    """The share of true boxes that were found (IoU of at least 0.5)."""
    if not true:
        return None
    return float((box_iou(found, true).amax(0) >= 0.5).float().mean()) if found else 0.0


def precision_and_recall(found: Regions, true: Regions) -> float | None:
    """The mean of average precision and recall."""
    return (average_precision(found, true) + (recall(found, true) or 0.0)) / 2 if true else None
