"""Rewards of boxes in space, `[x1, y1, z1, x2, y2, z2]`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

from gamutrl.functional.geometry import box3d_iou
from gamutrl.rewards.answers import to_number
from gamutrl.rewards.parsing import MAX_BOXES

_BOX = re.compile(r"box:\s*+\[([^\[\]]*+)\]")


def boxes3d_in(text: str) -> list[list[float]]:
    """The boxes written as `box: [x1, y1, z1, x2, y2, z2]`, in order; what is no list of six numbers is left out."""
    rows = ([to_number(side) for side in match[1].split(",")] for match in islice(_BOX.finditer(text), MAX_BOXES))
    return [[side for side in row if side is not None] for row in rows if len(row) == 6 and None not in row]


def corners(box: Sequence[float]) -> list[list[float]]:
    """The eight corners of a box: the four below, counter-clockwise, then the four above."""
    x1, y1, z1, x2, y2, z2 = box
    return [[x, y, z] for z in (z1, z2) for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]


def best_overlap(text: str, answer: Any) -> float:
    """The mean over the boxes written of the best IoU with a true one; objects missed cost nothing (3D-R1)."""
    found = boxes3d_in(text)
    if not found or not len(answer):
        return 0.0
    return float(box3d_iou(found, answer, inverted="sorted").amax(1).mean())
