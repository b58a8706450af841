"""Boxes to zoom into: checked, grown, clipped to the picture and mapped back. Corners `(x1, y1, x2, y2)` in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from gamutrl.rewards.parsing import numbers

Box = Sequence[float]
Size = Sequence[float]
"""`(width, height)`."""


def clipped(box: Box, size: Size, *, to_edge: bool = False) -> list[float]:
    """The part of a box that lies in the picture; sides come out reversed where none does.

    to_edge: a box beyond the right or lower edge becomes the last pixel there.
    """
    x1, y1 = max(0, box[0]), max(0, box[1])
    if to_edge:
        x1, y1 = min(x1, size[0] - 1), min(y1, size[1] - 1)
    return [x1, y1, min(size[0], box[2]), min(size[1], box[3])]


def ordered(box: Box) -> list[float]:
    """The box with its corners in order."""
    return [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]


def scaled(box: Box, source: Size, target: Size) -> list[float]:
    """A box measured in one picture's size, measured in another's; `(1, 1)` are fractions."""
    x, y = target[0] / source[0], target[1] / source[1]
    return [box[0] * x, box[1] * y, box[2] * x, box[3] * y]


def whole(box: Box, *, nearest: bool = False) -> list[int]:
    """The box in whole pixels, cut off or to the nearest (as pictures are cropped)."""
    return [round(side) if nearest else int(side) for side in box]


def fitted_size(size: Size, *, multiple: int = 28, least: int, most: int) -> tuple[int, int]:
    """The size, in whole multiples of a patch, that a picture is shown in: within so many pixels, its shape kept."""
    width, height = (max(multiple, round(side / multiple) * multiple) for side in size)
    if least <= width * height <= most:
        return width, height
    limit, cut = (most, math.floor) if width * height > most else (least, math.ceil)
    factor = math.sqrt(limit / (size[0] * size[1]))
    width, height = (max(multiple, cut(side * factor / multiple) * multiple) for side in size)
    return width, height


def as_fractions(box: Box, size: Size) -> list[float]:
    """A box as fractions of the picture: as it is where all its sides are below 1, else from pixels."""
    return list(box) if all(side < 1 for side in box) else scaled(box, size, (1, 1))


def padded(box: Box, x: float, y: float | None = None) -> list[float]:
    """The box with so much added on each side."""
    y = x if y is None else y
    return [box[0] - x, box[1] - y, box[2] + x, box[3] + y]


def enlarged(box: Box, factor: float) -> list[float]:
    """The box grown around its centre, both sides by a factor."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_w, half_h = (box[2] - box[0]) * factor / 2, (box[3] - box[1]) * factor / 2
    return [x - half_w, y - half_h, x + half_w, y + half_h]


def around(point: Sequence[float], half: float, size: Size) -> list[float]:
    """The square of this half side around a point, in the picture; at least one pixel on each side."""
    x1, y1, x2, y2 = clipped(padded([*point, *point], half), size)
    return [x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)]


def at_least(box: Box, side: int) -> list[float]:
    """The box grown around its centre until no side is shorter; whole pixels. It may reach out of the picture."""
    (x1, x2), (y1, y2) = (_grown(box[i], box[i + 2], side) for i in (0, 1))
    return [x1, y1, x2, y2]


def elongation(box: Box) -> float:
    """The longer side over the shorter; infinite for a box without area."""
    width, height = box[2] - box[0], box[3] - box[1]
    return max(width, height) / min(width, height) if min(width, height) > 0 else float("inf")


def croppable(box: Box, *, longer_than: float = 0.0, elongation_up_to: float = float("inf")) -> bool:
    """Whether both sides are longer than so many pixels and the box is not too elongated."""
    width, height = box[2] - box[0], box[3] - box[1]
    return min(width, height) > max(longer_than, 0.0) and elongation(box) <= elongation_up_to


def fault(box: object, size: Size) -> str | None:
    """What is wrong with a box that a model asks for, in words it can learn from; None if nothing is."""
    if not isinstance(box, list | tuple) or len(box) != 4 or numbers(box, 4) is None:
        return f"Bounding box {str(box)[:200]} must be a list of four numbers [x0, y0, x1, y1]"
    (x0, y0, x1, y1), (width, height) = box, size
    outside = [
        f"{name} ({value}) {relation} {limit}"
        for name, value, relation, limit, wrong in (
            ("x0", x0, "<", "0", x0 < 0),
            ("x0", x0, ">=", f"image width ({width})", x0 >= width),
            ("y0", y0, "<", "0", y0 < 0),
            ("y0", y0, ">=", f"image height ({height})", y0 >= height),
            ("x1", x1, "<=", "0", x1 <= 0),
            ("x1", x1, ">", f"image width ({width})", x1 > width),
            ("y1", y1, "<=", "0", y1 <= 0),
            ("y1", y1, ">", f"image height ({height})", y1 > height),
        )
        if wrong
    ]
    if outside:
        return f"Bounding box {list(box)} coordinates out of image range [0,0,{width},{height}]. Issues: " + ", ".join(
            outside
        )
    reversed_sides = [
        f"{end} ({b}) must be greater than {start} ({a})"
        for start, end, a, b in (("x0", "x1", x0, x1), ("y0", "y1", y0, y1))
        if b <= a
    ]
    if reversed_sides:
        return f"Bounding box {list(box)} has invalid coordinates. Issues: " + ", ".join(reversed_sides)
    return None


def out_of(boxes: Sequence[Box], crop: Box) -> list[list[float]]:
    """Boxes given as fractions of a crop, as fractions of what the crop was cut from; none if it has no area."""
    width, height = crop[2] - crop[0], crop[3] - crop[1]
    if width <= 0 or height <= 0:
        return []
    x, y = crop[0], crop[1]
    return [[x + b[0] * width, y + b[1] * height, x + b[2] * width, y + b[3] * height] for b in boxes]


def box_elsewhere(
    box: Box, rng: Random, *, differ: float = 0.3, widen: float = 0.1, every: int = 20, attempts: int = 100
) -> list[float] | None:
    """A random box of about this one's size that does not overlap it, as fractions of the picture; None if none fits.

    Sides differ by up to a share that grows by `widen` at every so many attempts, the first included (VisRL).
    """
    width, height = box[2] - box[0], box[3] - box[1]
    for attempt in range(attempts):
        differ += widen * (attempt % every == 0)
        w, h = (rng.uniform(side * (1 - differ), side * (1 + differ)) for side in (width, height))
        x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
        apart = x + w <= box[0] or x >= box[2] or y + h <= box[1] or y >= box[3]
        if apart and min(x, y) >= 0 and max(x + w, y + h) <= 1:
            return [x, y, x + w, y + h]
    return None


def _grown(low: float, high: float, side: int) -> tuple[float, float]:
    missing = side - (high - low)
    if missing <= 0:
        return low, high
    low, high = low - missing // 2, high + missing // 2
    return low, high + (high - low < side)
