"""Filters of pictures, and measurements: edges, a map of relative depth, contrast; lengths, angles, areas, colours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

from gamutrl.environments.desk import Desk, Refusal, Shown, size_of
from gamutrl.environments.tools.charts import region_at
from gamutrl.environments.tools.crop import chosen
from gamutrl.rewards.parsing import numbers

Grey = NDArray[np.float64]
MOST_SIDE = 2048
"""Larger pictures are filtered at this size, so that any picture takes bounded time."""


@dataclass(frozen=True)
class Filter:
    """Shows a picture filtered: the newest one, the first, or that numbered by `target_image`.

    edges: thin lines where brightness changes (gradient, thinned, two thresholds). depth: near is bright; a guess from
    sharpness and from height in the picture, no model. contrast: stretched. negative: inverted. sharpen: unsharp mask.
    """

    kind: Literal["edges", "depth", "contrast", "negative", "sharpen"]
    of: Literal["first", "target", "newest"] = "newest"

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        picture = chosen(desk, arguments, self.of).full.convert("RGB")
        if max(picture.size) > MOST_SIDE:
            picture.thumbnail((MOST_SIDE, MOST_SIDE))
        if self.kind == "edges":
            made = Image.fromarray((edges(_grey(picture)) * 255).astype(np.uint8)).convert("RGB")
        elif self.kind == "depth":
            made = Image.fromarray((depth(_grey(picture)) * 255).astype(np.uint8)).convert("RGB")
        elif self.kind == "contrast":
            made = ImageOps.autocontrast(picture, cutoff=1)
        elif self.kind == "negative":
            made = ImageOps.invert(picture)
        else:
            pixels = np.asarray(picture).astype(np.float64)
            blurred = ndimage.gaussian_filter(pixels, (1.5, 1.5, 0))
            made = Image.fromarray(np.clip(2 * pixels - blurred, 0, 255).astype(np.uint8))
        return Shown(pictures=(made,), info={"filter": self.kind})


@dataclass(frozen=True)
class Measure:
    """Says a measurement of a picture in words, and in `info["value"]`.

    distance: between `points` (two), angle: at the second of three `points`, in degrees; area: of the region of one
    colour at `point`, in pixels; colour: red, green and blue at `point`. frame: the size in which points are written
    and lengths are told.
    """

    kind: Literal["distance", "angle", "area", "colour"]
    frame: tuple[float, float] | tuple[str, str] | None = None
    of: Literal["first", "target", "newest"] = "first"
    tolerance: int = 24

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        seen = chosen(desk, arguments, self.of)
        width, height = size_of(desk, self.frame, seen.shown)
        count = {"distance": 2, "angle": 3}.get(self.kind, 1)
        asked = arguments.get("points") if count > 1 else [arguments.get("point")]
        points = [numbers(point, 2) for point in asked] if isinstance(asked, list) and len(asked) == count else []
        places = [point for point in points if point and 0 <= point[0] <= width and 0 <= point[1] <= height]
        if len(places) != count:
            named = "point must be [x, y]" if count == 1 else f"points must be a list of {count} points [x, y]"
            raise Refusal(f"{named}, within {width:g} x {height:g}")
        if self.kind == "distance":
            value = math.dist(*places)
            return Shown(f"{value:.1f}", info={"value": value})
        if self.kind == "angle":
            value = angle(*places)
            return Shown(f"{value:.1f} degrees", info={"value": value})
        full = seen.full.convert("RGB")
        x = min(full.width - 1, int(places[0][0] / width * full.width))
        y = min(full.height - 1, int(places[0][1] / height * full.height))
        if self.kind == "colour":
            red, green, blue = full.getpixel((x, y))  # type: ignore[misc]
            return Shown(f"red {red}, green {green}, blue {blue}", info={"value": [red, green, blue]})
        region = region_at(full, x, y, self.tolerance)
        area = float(region.mean()) * width * height
        return Shown(f"{area:.1f}", info={"value": area})


def edges(grey: Grey, blur: float = 1.4, low: float = 0.1, high: float = 0.2) -> NDArray[np.bool_]:
    """Canny's edges: maxima of the gradient along its direction, above `high`, or above `low` and joined to such.

    low, high: of the largest gradient.
    """
    smooth = ndimage.gaussian_filter(grey, blur)
    down, right = ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)
    strength = np.hypot(down, right)
    if not strength.max():
        return np.zeros(grey.shape, bool)
    # The gradient's direction in four: across, along one diagonal, down, along the other.
    direction = np.round(np.arctan2(down, right) / (np.pi / 4)).astype(int) % 4
    thin = np.zeros(grey.shape, bool)
    for number, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead, behind = (ndimage.shift(strength, (s * dy, s * dx), order=0, cval=0.0) for s in (1, -1))
        thin |= (direction == number) & (strength >= ahead) & (strength > behind)
    top = strength.max()
    weak = thin & (strength >= low * top)
    blobs, count = ndimage.label(weak, np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[np.unique(blobs[thin & (strength >= high * top)])] = True
    strong[0] = False
    return strong[blobs]


def depth(grey: Grey) -> Grey:
    """How near each pixel seems, in [0, 1]: half from local sharpness, half from how low in the picture it lies."""
    detail = ndimage.gaussian_filter(np.abs(ndimage.laplace(ndimage.gaussian_filter(grey, 1.0))), 6.0)
    span = detail.max() - detail.min()
    sharp = (detail - detail.min()) / span if span > 0 else np.zeros(grey.shape)
    low = np.linspace(0, 1, grey.shape[0])[:, None]
    return (sharp + low) / 2


def angle(one: tuple[float, ...], corner: tuple[float, ...], two: tuple[float, ...]) -> float:
    """The angle at a corner, from 0 to 180 degrees; 0 where a side has no length."""
    a = (one[0] - corner[0], one[1] - corner[1])
    b = (two[0] - corner[0], two[1] - corner[1])
    if not any(a) or not any(b):
        return 0.0
    return abs(math.degrees(math.atan2(a[0] * b[1] - a[1] * b[0], a[0] * b[0] + a[1] * b[1])))


def _grey(picture: Image.Image) -> Grey:
    return np.asarray(picture.convert("L"), np.float64) / 255
