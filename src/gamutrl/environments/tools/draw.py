"""Drawing on pictures: boxes and arrows that stay (ViLaSR), lines, points and marks (OpenThinkIMG).

What a model asks to have drawn is clipped to the picture, and its labels are cut to a few words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image, ImageDraw, ImageFont

from gamutrl.environments import drawings
from gamutrl.environments.desk import Desk, Refusal, Shown, size_of
from gamutrl.rewards.parsing import numbers

COLOURS = ("red", "green", "blue", "yellow", "magenta", "cyan", "orange", "purple")
MOST_ITEMS = 64
"""Things that one call may draw."""

Frame = tuple[float, float] | tuple[str, str] | None
_NUMBER = re.compile(r'([xy])\s*+=\s*+"?+(-?\d{1,9}(?:\.\d{0,9}+)?+)"?+')


@dataclass(frozen=True)
class DrawItems:
    """Draws boxes and arrows on a picture that is numbered from 1, beside what is drawn on it already.

    An item under a label that is there replaces it, and leaves no trace (released: it stays visible). The new picture
    keeps all else that is drawn. frame: the size in which coordinates are written. width: of lines, in pixels. Source:
    ViLaSR (2506.09965).
    """

    frame: Frame = None
    width: int = 4
    labels: bool = True

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        index, items = arguments.get("index"), arguments.get("items")
        if not isinstance(index, int) or isinstance(index, bool) or not isinstance(items, list):
            raise Refusal("a drawing needs the index of an image, from 1, and its items")
        seen = desk.picture(index - 1)
        checked = [self._checked(item) for item in items[:MOST_ITEMS]]
        annotations: drawings.Annotations = desk.notes.get("draw", {})
        annotations = desk.notes["draw"] = drawings.drawn(annotations, checked, index - 1, len(desk.seen))
        size = size_of(desk, self.frame, seen.shown)
        canvas = seen.full.convert("RGB")
        self._paint(canvas, annotations[len(desk.seen)], size)
        return Shown(pictures=(canvas,), full=(seen.full,), info={"items": checked, "picture": index - 1})

    def _checked(self, item: Any) -> drawings.Item:
        label = str(item.get("label", "")) if isinstance(item, dict) else ""
        if isinstance(item, dict) and numbers(item.get("bbox_2d"), 4):
            return {"bbox_2d": item["bbox_2d"], "label": label}
        if isinstance(item, dict) and numbers(item.get("start_point_2d"), 2) and numbers(item.get("end_point_2d"), 2):
            return {"start_point_2d": item["start_point_2d"], "end_point_2d": item["end_point_2d"], "label": label}
        raise Refusal(
            "each item needs a label and either bbox_2d [x1, y1, x2, y2] or start_point_2d and end_point_2d [x, y]"
        )

    def _paint(self, canvas: Image.Image, items: Sequence[drawings.Item], size: Sequence[float]) -> None:
        pen = ImageDraw.Draw(canvas)
        x, y = canvas.width / size[0], canvas.height / size[1]
        for number, item in enumerate(items):
            colour = COLOURS[number % len(COLOURS)]
            if "bbox_2d" in item:
                left, top, right, bottom = (_near(side, canvas.size) for side in item["bbox_2d"])
                box = (min(left, right) * x, min(top, bottom) * y, max(left, right) * x, max(top, bottom) * y)
                pen.rectangle(box, outline=colour, width=self.width)
                at = box[:2]
            else:
                (x1, y1), (x2, y2) = (
                    [_near(side, canvas.size) for side in item[end]] for end in ("start_point_2d", "end_point_2d")
                )
                at = (x1 * x, y1 * y)
                pen.line((*at, x2 * x, y2 * y), fill="black", width=self.width)
                for (left, top), dot in ((at, "red"), ((x2 * x, y2 * y), "blue")):
                    pen.ellipse((left - 4, top - 4, left + 4, top + 4), fill=dot)
            if self.labels and item["label"]:
                pen.text((at[0] + 2, at[1] + 2), printable(item["label"]), fill=colour, font=ImageFont.load_default(12))


@dataclass(frozen=True)
class DrawLine:
    """Draws a line right across the newest picture: `param` is `y=28.5` or `x=21.5` (OpenThinkIMG).

    frame: the size in which the number is written; OpenThinkIMG's are hundredths of the picture, `(100, 100)`.
    """

    axis: Literal["x", "y"]
    frame: Frame = None
    colour: str = "red"
    width: int = 2

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        seen = desk.newest()
        place = named_numbers(arguments.get("param")).get(self.axis)
        width, height = size_of(desk, self.frame, seen.shown)
        side, most = ("width", width) if self.axis == "x" else ("height", height)
        if place is None or not 0 <= place <= most:
            raise Refusal(f"param must be {self.axis}=a number from 0 to {most:g}, within the {side} of the image")
        return _on_copy(
            seen.full,
            _across(self.axis, place / most, self.colour, self.width),
            {"line": [self.axis, place]},
        )


@dataclass(frozen=True)
class DrawPoint:
    """Marks points of the newest picture with dots: `points` is a list of [x, y]."""

    frame: Frame = None
    radius: int = 4
    colour: str = "red"

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        seen = desk.newest()
        asked = arguments.get("points")
        points = [numbers(point, 2) for point in asked[:MOST_ITEMS]] if isinstance(asked, list) else []
        if not points or None in points:
            raise Refusal("points must be a list of [x, y]")
        width, height = size_of(desk, self.frame, seen.shown)
        places = [(point[0] / width, point[1] / height) for point in points if point]
        if not all(0 <= x <= 1 and 0 <= y <= 1 for x, y in places):
            raise Refusal(f"points must lie in the image of {width:g} x {height:g}")

        def draw(pen: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
            for x, y in places:
                x, y = x * size[0], y * size[1]
                pen.ellipse((x - self.radius, y - self.radius, x + self.radius, y + self.radius), fill=self.colour)

        return _on_copy(seen.full, draw, {"points": [list(point) for point in points if point]})


@dataclass(frozen=True)
class MarkGrid:
    """Lays a numbered grid over the newest picture, so that places can be named (set-of-marks)."""

    rows: int = 3
    columns: int = 3
    colour: str = "white"

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        def draw(pen: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
            width, height = size[0] / self.columns, size[1] / self.rows
            font = ImageFont.load_default(max(8, min(width, height) / 3))
            for number in range(self.rows * self.columns):
                left, top = number % self.columns * width, number // self.columns * height
                pen.rectangle((left, top, left + width, top + height), outline=self.colour)
                pen.text((left + 2, top + 1), str(number + 1), fill=self.colour, font=font)

        return _on_copy(desk.newest().full, draw, {"grid": [self.rows, self.columns]})


def named_numbers(value: Any) -> dict[str, float]:
    """The numbers of a text like `x="21.5" y="28.5"`, by letter; the first of each."""
    found: dict[str, float] = {}
    if isinstance(value, str):
        for match in _NUMBER.finditer(value[:1000]):
            found.setdefault(match[1], float(match[2]))
    return found


def printable(label: str, most: int = 32) -> str:
    """A label that any font can draw: its first characters on one line, others as question marks."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in label[:most])


def _across(axis: str, share: float, colour: str, line: int) -> Callable[[ImageDraw.ImageDraw, tuple[int, int]], None]:
    def draw(pen: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
        if axis == "x":
            pen.line((share * size[0], 0, share * size[0], size[1]), fill=colour, width=line)
        else:
            pen.line((0, share * size[1], size[0], share * size[1]), fill=colour, width=line)

    return draw


def _on_copy(
    picture: Image.Image, draw: Callable[[ImageDraw.ImageDraw, tuple[int, int]], None], info: dict[str, Any]
) -> Shown:
    canvas = picture.convert("RGB")
    draw(ImageDraw.Draw(canvas), canvas.size)
    return Shown(pictures=(canvas,), info=info)


def _near(side: float, size: tuple[int, int]) -> float:
    """The coordinate, kept near the picture: what lies far outside cannot be seen, and costs time to draw."""
    most = 4.0 * max(size)
    return math.copysign(min(abs(side), most), side)
