"""What a picture shows: coloured shapes read back by a small vision program, which is no model.

Pixels are sorted by hue, so any grey ground will do; patches of one colour are compared with the shapes of
`data.worlds.render`. Boxes are fractions of the picture, `(x1, y1, x2, y2)`, y downwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects, gaussian_filter, label, zoom

from gamutrl.data.worlds import render

Box = tuple[float, float, float, float]
Floats = NDArray[np.float32]

BLOB = "blob"
"""The name of a patch of colour that is no known shape."""

_SIDE = 16
_LEAST_AREA = 0.008
"""Patches below this share of the picture are specks: the smallest shape of the world has three times as much."""
_LEAST_LIKENESS = 0.72
_COLOURS = tuple(render.COLOURS)


@dataclass(frozen=True)
class Seen:
    """One thing in a picture. `score` says how surely it is what it is called, in [0, 1]."""

    name: str
    color: str | None
    box: Box
    score: float = 1.0

    @property
    def center(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


See = Callable[[Sequence[Image.Image], Sequence[Sequence[str]]], list[list[Seen]]]
"""Pictures, and the names to look for in each, to what is seen, the surest first."""


def see_shapes(pictures: Sequence[Image.Image], names: Sequence[Sequence[str]] = ()) -> list[list[Seen]]:
    """The coloured shapes of each picture, whatever names are asked for."""
    return [shapes_in(picture) for picture in pictures]


def shapes_in(picture: Image.Image) -> list[Seen]:
    """The coloured shapes of one picture, the surest first; a patch that is no known shape is a `BLOB`."""
    pixel_HWC = np.asarray(picture.convert("RGB"), dtype=np.float32)
    height, width = pixel_HWC.shape[:2]
    blur = max(height, width) / 50
    cover_HW, colour_HW = _covered(gaussian_filter(pixel_HWC, (blur, blur, 0)))
    seen = []
    for number, colour in enumerate(_COLOURS):
        patch_HW, _ = label((colour_HW == number) & (cover_HW > 0.5))
        for index, (rows, columns) in enumerate(find_objects(patch_HW), start=1):
            own_hw = patch_HW[rows, columns] == index
            if own_hw.sum() < _LEAST_AREA * height * width:
                continue
            name, score, margins = _named(np.where(own_hw, cover_HW[rows, columns], 0), blur)
            edges = np.array([columns.start, rows.start, columns.stop, rows.stop]) + margins
            x1, y1, x2, y2 = (edges / (width, height, width, height)).clip(0, 1).tolist()
            seen.append(Seen(name, colour, (x1, y1, x2, y2), score))
    return sorted(seen, key=lambda thing: -thing.score)


@lru_cache(maxsize=1)
def _hues() -> tuple[Floats, Floats]:
    """Each colour less its grey, as a direction `[colours, 3]`, and its length."""
    colour_KC = np.array(list(render.COLOURS.values()), dtype=np.float32)
    hue_KC = colour_KC - colour_KC.mean(1, keepdims=True)
    length_K = np.linalg.norm(hue_KC, axis=1)
    return hue_KC / length_K[:, None], length_K


def _covered(pixel_HWC: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """How much of each pixel is coloured, in [0, 1], and with which colour of the table."""
    hue_KC, length_K = _hues()
    own_HWC = pixel_HWC - pixel_HWC.mean(2, keepdims=True)
    along_HWK = own_HWC @ hue_KC.T
    colour_HW = along_HWK.argmax(2)
    along_HW = np.take_along_axis(along_HWK, colour_HW[..., None], 2)[..., 0]
    return (along_HW / length_K[colour_HW]).clip(0, 1), colour_HW


def _named(cover_hw: Floats, blur: float) -> tuple[str, float, Floats]:
    """The shape that a patch is most like, how like it is (soft IoU), and how far its true box lies outside."""
    height, width = cover_hw.shape
    shape_KSS, aspect_K, margins_K4 = _templates(max(height, width), blur)
    own_SS = _scaled(cover_hw)
    overlap_K = np.minimum(shape_KSS, own_SS).sum((1, 2)) / np.maximum(shape_KSS, own_SS).sum((1, 2))
    # A shape of the world is as wide as it is high: what is stretched is another shape.
    overlap_K = np.where(np.abs(np.log(width / height / aspect_K)) < 0.35, overlap_K, 0)
    best = int(overlap_K.argmax())
    score = float(overlap_K[best])
    return (render.SHAPES[best] if score >= _LEAST_LIKENESS else BLOB), score, margins_K4[best]


@lru_cache(maxsize=256)
def _templates(extent: int, blur: float) -> tuple[Floats, Floats, Floats]:
    """The shapes as a patch of this extent shows them: cut out `[K, 16, 16]`, width over height, margins lost."""
    found, aspects, margins = [], [], []
    for shape in render.SHAPES:
        # Blurring takes corners away: the stamp that leaves this extent is a little larger.
        for side in range(extent, extent + 4):
            edge = 3 + round(3 * blur)
            stamp = gaussian_filter(np.pad(render.shape_stamp(shape, side), edge), blur)
            (rows, columns) = find_objects((stamp > 0.5).astype(np.int64))[0]
            if max(rows.stop - rows.start, columns.stop - columns.start) >= extent:
                break
        found.append(_scaled(np.where(stamp > 0.5, stamp, 0)[rows, columns]))
        aspects.append((columns.stop - columns.start) / (rows.stop - rows.start))
        inner = (edge - columns.start, edge - rows.start, edge + side - columns.stop, edge + side - rows.stop)
        margins.append(inner)
    return np.stack(found), np.array(aspects, dtype=np.float32), np.array(margins, dtype=np.float32)


def _scaled(cover_hw: Floats) -> Floats:
    height, width = cover_hw.shape
    return zoom(cover_hw, (_SIDE / height, _SIDE / width), order=1, grid_mode=True, mode="nearest").clip(0, 1)
