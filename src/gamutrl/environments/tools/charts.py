"""Tools that read charts and print: each finds exactly what a world knows, or asks a responder.

An oracle gives what a model for the purpose would find; worlds offer them (`data.worlds.charts`). Places are in the
model's view, of `view` pixels a side, and are told in `frame` (OpenThinkIMG's: hundredths of the picture).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from gamutrl.core import Message, Prompt, image, text
from gamutrl.core.context import Responder
from gamutrl.data.worlds import render
from gamutrl.environments import crops
from gamutrl.environments.desk import Desk, Refusal, Shown, Tool
from gamutrl.environments.tools.crop import View
from gamutrl.environments.tools.draw import DrawLine, named_numbers

Words = Callable[[Prompt], Sequence[tuple[str, Sequence[float]]]]
Places = Callable[[Prompt, str], Sequence[float] | None]
Panels = Callable[[Prompt], Mapping[str, Sequence[float]]]
MOST_DESCRIPTION = 200


@dataclass(frozen=True)
class ReadText:
    """OCR: the print on the row's picture, and where it stands."""

    words: Words
    frame: float = 100.0
    places: bool = True

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        found = self.words(desk.prompt)
        said = [
            f"{word} ({place[0] * self.frame / render.SIZE:.1f}, {place[1] * self.frame / render.SIZE:.1f})"
            if self.places
            else word
            for word, place in found
        ]
        return Shown(text="; ".join(said), info={"words": [word for word, _ in found]})


@dataclass(frozen=True)
class PointAt:
    """Where a thing that is described lies: `x="21.5" y="28.5"` (OpenThinkIMG)."""

    find: Places
    frame: float = 100.0
    argument: str = "param"

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        description = arguments.get(self.argument)
        if not isinstance(description, str):
            raise Refusal(f"{self.argument} must describe what to point at")
        place = self.find(desk.prompt, description[:MOST_DESCRIPTION])
        if place is None:
            raise Refusal(f"there is nothing like {description[:60]!r} in the image")
        x, y = (side * self.frame / render.SIZE for side in place[:2])
        info: dict[str, Any] = {"point": [x, y]}
        if desk.seen:
            mark = crops.padded([*place[:2], *place[:2]], 2)
            info |= {"picture": 0, "mark": crops.scaled(mark, (render.SIZE, render.SIZE), desk.picture(0).full.size)}
        return Shown(text=f'x="{x:.1f}" y="{y:.1f}"', info=info)


@dataclass(frozen=True)
class ZoomPanel:
    """Cuts a part of the row's picture out by its title."""

    panels: Panels
    view: View = View()
    argument: str = "param"

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        parts = self.panels(desk.prompt)
        asked = str(arguments.get(self.argument, ""))[:MOST_DESCRIPTION].lower()
        title = next((title for title in parts if title.lower() in asked), None)
        if title is None:
            raise Refusal(f"there is no part of that title; there are: {', '.join(parts)}")
        full = desk.picture(0).full
        box = crops.whole(crops.scaled(parts[title], (render.SIZE, render.SIZE), full.size), nearest=True)
        cut = full.crop(tuple(box))  # type: ignore[arg-type]
        return Shown(pictures=(self.view(cut),), full=(cut,), info={"box": box, "picture": 0, "title": title})


@dataclass(frozen=True)
class SegmentAround:
    """Shows which region of one colour a point lies in: the newest picture, dimmed but for that region.

    tolerance: how far a channel may differ from the point's own colour.
    """

    frame: float = 100.0
    tolerance: int = 24
    argument: str = "param"

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        place = named_numbers(arguments.get(self.argument))
        if not {"x", "y"} <= set(place) or not all(0 <= value <= self.frame for value in place.values()):
            raise Refusal(f'{self.argument} must be x="…" y="…", numbers from 0 to {self.frame:g}')
        picture = desk.newest().full.convert("RGB")
        x = min(picture.width - 1, int(place["x"] / self.frame * picture.width))
        y = min(picture.height - 1, int(place["y"] / self.frame * picture.height))
        region = region_at(picture, x, y, self.tolerance)
        rows, columns = np.nonzero(region)
        box = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
        shown = np.asarray(picture) // 2
        shown[region] = np.asarray(picture)[region]
        canvas = Image.fromarray(shown)
        ImageDraw.Draw(canvas).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline="red", width=2)
        share = float(region.mean())
        words = f"the region covers {share:.1%} of the image"
        return Shown(words, (canvas,), info={"box": box, "share": share, "point": [x, y]})


@dataclass(frozen=True)
class Lookup:
    """A cell of the row's table by its name."""

    table: Callable[[Prompt], Mapping[str, Any]]
    argument: str = "param"

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        table = self.table(desk.prompt)
        asked = str(arguments.get(self.argument, ""))[:MOST_DESCRIPTION].lower()
        name = next((name for name in table if name.lower() in asked), None)
        if name is None:
            raise Refusal(f"the table has no such entry; it has: {', '.join(table)}")
        return Shown(text=f"{name}: {table[name]}", info={"entry": name})


@dataclass(frozen=True)
class Ask:
    """Any of these by asking a responder (a served model, a rule) about the newest or the first picture.

    question: `{param}` is what the model gave.
    """

    responder: Responder
    question: str = "{param}"
    of: Literal["first", "newest"] = "newest"
    argument: str = "param"

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        seen = desk.newest() if self.of == "newest" else desk.picture(0)
        asked = self.question.replace("{param}", str(arguments.get(self.argument, ""))[:MOST_DESCRIPTION])
        (answer,) = self.responder([[Message("user", (image(seen.full), text(asked)))]])
        return Shown(text=answer)


def chart_tools(words: Words, find: Places, panels: Panels, frame: float = 100.0) -> dict[str, Tool]:
    """The six tools of OpenThinkIMG (2505.08617), by oracles."""
    size = (frame, frame)
    return {
        "OCR": ReadText(words, frame),
        "Point": PointAt(find, frame),
        "ZoomInSubfigure": ZoomPanel(panels),
        "SegmentRegionAroundPoint": SegmentAround(frame),
        "DrawHorizontalLineByY": DrawLine("y", size),
        "DrawVerticalLineByX": DrawLine("x", size),
    }


def region_at(picture: Image.Image, x: int, y: int, tolerance: int) -> np.ndarray:
    """The connected pixels of about a pixel's colour, bool `[height, width]`."""
    from scipy.ndimage import label

    pixels = np.asarray(picture.convert("RGB")).astype(np.int16)
    alike = (np.abs(pixels - pixels[y, x]) <= tolerance).all(-1)
    blobs, _ = label(alike)
    return blobs == blobs[y, x]
