"""One renderer and one colour table under every world: antialiased stamps on 72 × 72 RGB canvases.

A stamp is a float mask in [0, 1]; painting one blends a colour into a `uint8` array in place. Stamps are cached, so a
canvas of several objects costs some tens of microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Canvas = NDArray[np.uint8]
Stamp = NDArray[np.float32]
Box = tuple[int, int, int, int]

CELL = 24
SIZE = 3 * CELL
"""The side of every canvas, in pixels: three cells of 24, so that each visual token of `vlm-tiny` sees one cell."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 90, 230),
    "yellow": (235, 210, 40),
    "purple": (160, 60, 190),
    "cyan": (60, 205, 215),
}
SHAPES = ("circle", "square", "triangle", "cross")
WHITE = (240, 240, 240)

_GLYPH_ROWS = (
    "111101101101111",
    "010110010010111",
    "111001111100111",
    "111001111001111",
    "101101111001001",
    "111100111001111",
    "111100111101111",
    "111001001010010",
    "111101111101111",
    "111101111001111",
)


def blank(shade: tuple[int, int, int] = (0, 0, 0)) -> Canvas:
    """An empty canvas of one colour."""
    canvas = np.empty((SIZE, SIZE, 3), dtype=np.uint8)
    canvas[:] = shade
    return canvas


def paint(canvas: Canvas, stamp: Stamp, colour: tuple[int, int, int], x: int, y: int) -> None:
    """Blend a stamp into the canvas with its top left corner at (x, y); what hangs over the edge is cut off."""
    height, width = stamp.shape
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, SIZE), min(y + height, SIZE)
    if left >= right or top >= bottom:
        return
    mask = stamp[top - y : bottom - y, left - x : right - x, None]
    region = canvas[top:bottom, left:right]
    region[:] = region + mask * (np.asarray(colour, dtype=np.float32) - region) + 0.5


@cache
def shape_stamp(shape: str, size: int) -> Stamp:
    """A filled shape that touches all four sides of its `size` × `size` square."""
    fine = 4
    axis = (np.arange(size * fine) + 0.5) / (size * fine) * 2 - 1
    x, y = axis[None, :], axis[:, None]
    if shape == "circle":
        inside = x * x + y * y <= 1
    elif shape == "square":
        inside = np.ones((size * fine, size * fine), dtype=bool)
    elif shape == "triangle":
        inside = np.abs(x) <= (y + 1) / 2
    elif shape == "cross":
        inside = (np.abs(x) <= 0.32) | (np.abs(y) <= 0.32)
    else:
        raise ValueError(f"No shape is called {shape!r}; there are: {', '.join(SHAPES)}.")
    return inside.reshape(size, fine, size, fine).mean((1, 3)).astype(np.float32)


@cache
def number_stamp(number: int) -> Stamp:
    """A printed number: 3 × 5 dot digits at three pixels a dot, one dot between digits."""
    rows = [np.array(list(_GLYPH_ROWS[int(digit)]), dtype=np.float32).reshape(5, 3) for digit in str(number)]
    spaced = [np.pad(row, ((0, 0), (0, 1))) for row in rows]
    return np.kron(np.concatenate(spaced, 1)[:, :-1], np.ones((3, 3), dtype=np.float32))


@cache
def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    data = load_digits()
    stamps = np.clip(zoom(data.images / 16.0, (1, 2, 2), order=1, grid_mode=True, mode="nearest"), 0, 1)
    return stamps.astype(np.float32), data.target


def digit_stamp(scan: int) -> Stamp:
    """One of the 1,797 real 8 × 8 scans that scikit-learn ships, enlarged to 16 × 16."""
    return _digits()[0][scan]


@cache
def scans(split: Literal["train", "test"]) -> tuple[tuple[int, ...], ...]:
    """The numbers of a split's scans, by the digit they show; every fifth scan is held out for "test"."""
    target = _digits()[1]
    of_split = (np.arange(len(target)) % 5 == 4) == (split == "test")
    return tuple(tuple(np.flatnonzero(of_split & (target == digit)).tolist()) for digit in range(10))


def picture(canvas: Canvas) -> Image.Image:
    return Image.fromarray(canvas)


def pictures(canvases: Sequence[Canvas]) -> list[Image.Image]:
    return [Image.fromarray(canvas) for canvas in canvases]
