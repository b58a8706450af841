"""Painting on pictures of any size, with the shapes, scans and colours of `render`.

Places are given in the model's view, a square of `render.SIZE` pixels, and a sheet shows them `scale` times as large:
what is small on a large sheet is gone from the view, and comes back in a crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gamutrl.data.worlds import render

Colour = tuple[int, int, int]
View = Sequence[float]
"""A box `(x1, y1, x2, y2)` in the view's pixels."""

INK = (20, 20, 20)
PLATE = (12, 12, 12)
_CAPITALS = 0.72
"""The height of a capital, as a share of its font's size."""


class Sheet:
    """A square picture of `side` pixels, painted in the view's measure."""

    def __init__(self, side: int, shade: Colour = (24, 24, 24)) -> None:
        self.picture = Image.new("RGB", (side, side), shade)
        self.scale = side / render.SIZE
        self.pen = ImageDraw.Draw(self.picture)

    def pixels(self, box: View) -> tuple[int, int, int, int]:
        """A box of the view in the sheet's own pixels, at least one wide and high."""
        x1, y1, x2, y2 = (round(side * self.scale) for side in box)
        return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)

    def shape(self, shape: str, colour: Colour, box: View) -> None:
        x1, y1, x2, _ = self.pixels(box)
        self.picture.paste(colour, (x1, y1), _shape_mask(shape, x2 - x1))

    def rectangle(self, box: View, fill: Colour | None = None, outline: Colour | None = None, width: int = 1) -> None:
        x1, y1, x2, y2 = self.pixels(box)
        self.pen.rectangle((x1, y1, x2 - 1, y2 - 1), fill=fill, outline=outline, width=width)

    def line(self, points: Sequence[Sequence[float]], colour: Colour, width: float = 1.0) -> None:
        places = [(round(x * self.scale), round(y * self.scale)) for x, y in points]
        self.pen.line(places, fill=colour, width=max(1, round(width * self.scale)))

    def scan(self, scan: int, box: View, colour: Colour = render.WHITE) -> None:
        """One of the handwritten digits, filling a box."""
        x1, y1, x2, y2 = self.pixels(box)
        mask = Image.fromarray((render.digit_stamp(scan) * 255).astype(np.uint8))
        self.picture.paste(colour, (x1, y1), mask.resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR))

    def number(self, number: int, at: Sequence[float], height: float, colour: Colour) -> None:
        """A printed number in the worlds' own print, with its top left corner at a place."""
        stamp = Image.fromarray((render.number_stamp(number) * 255).astype(np.uint8))
        size = (max(1, round(stamp.width * height * self.scale / stamp.height)), max(1, round(height * self.scale)))
        place = (round(at[0] * self.scale), round(at[1] * self.scale))
        self.picture.paste(colour, place, stamp.resize(size, Image.Resampling.BOX))

    def words(self, text: str, at: Sequence[float], height: float, colour: Colour = INK) -> View:
        """Printed words with their top left corner at a place; returns the box that they fill, in the view."""
        font = _font(max(4, round(height * self.scale)))
        x, y = at[0] * self.scale, at[1] * self.scale
        self.pen.text((x, y), text, fill=colour, font=font)
        return [side / self.scale for side in self.pen.textbbox((x, y), text, font=font)]

    def plate(self, text: str, box: View, height: float, colour: Colour = render.WHITE) -> None:
        """Printed capitals of a height, on a dark plate, in the middle of a box."""
        font = _font(max(4, round(height * self.scale / _CAPITALS)))
        x, y = ((box[axis] + box[axis + 2]) / 2 * self.scale for axis in (0, 1))
        left, top, right, bottom = self.pen.textbbox((x, y), text, font=font, anchor="mm")
        margin = max(1, round(height * self.scale / 8))
        self.pen.rectangle((left - margin, top - margin, right + margin, bottom + margin), fill=PLATE)
        self.pen.text((x, y), text, fill=colour, font=font, anchor="mm")


@cache
def _shape_mask(shape: str, side: int) -> Image.Image:
    return Image.fromarray((render.shape_stamp(shape, side) * 255).astype(np.uint8))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def middle(box: View, side: float) -> list[float]:
    """The square of this side in the middle of a box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def around(boxes: Sequence[View], margin: float = 0.0) -> list[float]:
    """The smallest box of the view that holds all of these with a margin."""
    low = [max(0.0, min(box[axis] for box in boxes) - margin) for axis in (0, 1)]
    high = [min(float(render.SIZE), max(box[axis] for box in boxes) + margin) for axis in (2, 3)]
    return [*low, *high]
