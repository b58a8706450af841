"""The first phase of `agent-tiny`: its tower learns to see crops, frames and boards as it sees its own canvases.

`vlm-tiny` reads a digit of 16 pixels on an empty canvas and none on a plate in the middle of a crop. What it should see
there is known: the same digit, drawn as it knows it, in the same cell. So the tower as it was, looking at that drawing,
is the teacher, and language finds the new pictures in words that it reads already.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gamutrl.data.worlds import charts, films, games, library, pages, render, scenes, sheets
from gamutrl.environments.tools.crop import squared
from gamutrl.zoo import vision

GRID = render.SIZE // render.CELL
SIDE = 504
"""The side of the pages that crops are cut from."""

_PAGE = (24, 24, 24)
_OF_DIGITS, _OF_SIGNS = sheets.PLATE, _PAGE
"""The shades of the canvases on which the tower knows digits and printed numbers."""


class Sight(NamedTuple):
    """A picture as the model is shown it, the drawing that it should look like, and in which cells it should."""

    shown: render.Canvas
    drawn: render.Canvas
    cells: Sequence[int]


class Known(NamedTuple):
    """Something the tower can read, with its middle in a picture's pixels: a scan of a digit, or a printed number."""

    middle: tuple[float, float]
    stamp: render.Stamp
    colour: tuple[int, int, int]


def sights(rng: random.Random) -> list[Sight]:
    """Some pictures of one kind."""
    (make,) = rng.choices([kind for kind, _ in KINDS], [share for _, share in KINDS])
    return make(rng)


def seen(picture: Image.Image) -> render.Canvas:
    """The picture as the processor hands it to the tower."""
    small = picture.convert("RGB").resize((render.SIZE, render.SIZE), Image.Resampling.LANCZOS)
    return np.asarray(small)


def like(shown: render.Canvas, known: Sequence[Known], shade: tuple[int, int, int]) -> Sight:
    """What is known drawn each in the cell that holds its middle; what lies outside the picture is left out."""
    canvas, cells = render.blank(shade), []
    for (x, y), stamp, colour in known:
        column, row = int(x // render.CELL), int(y // render.CELL)
        if 0 <= column < GRID and 0 <= row < GRID and row * GRID + column not in cells:
            height, width = stamp.shape
            left = _inside(x - width / 2, column * render.CELL, render.CELL - width)
            top = _inside(y - height / 2, row * render.CELL, render.CELL - height)
            render.paint(canvas, stamp, colour, left, top)
            cells.append(row * GRID + column)
    return Sight(shown, canvas, cells)


def _inside(place: float, start: int, room: int) -> int:
    return start + min(max(0, round(place) - start), max(0, room))


def _digit(scan: int, middle: tuple[float, float]) -> Known:
    return Known(middle, render.digit_stamp(scan), render.WHITE)


def _crop(
    rng: random.Random, page: Image.Image, box: Sequence[float], near: float = 1.0, far: float = 2.2
) -> tuple[render.Canvas, Callable[[float, float], tuple[float, float]]]:
    """About what a policy that looks for a box cuts out, and where in it a place of the view comes to lie."""
    scale = page.width / render.SIZE
    half = (box[2] - box[0]) / 2 * rng.uniform(near**0.5, far**0.5) ** 2
    astray = 2.5 if rng.random() < 0.08 else 0.25
    x, y = ((box[axis] + box[axis + 2]) / 2 + rng.uniform(-astray, astray) * half for axis in (0, 1))
    wanted = [max(0.0, x - half), max(0.0, y - half), min(72.0, x + half), min(72.0, y + half)]
    if min(wanted[2] - wanted[0], wanted[3] - wanted[1]) < 2:
        wanted = list(box)
    cut = [int(edge) for edge in squared([edge * scale for edge in wanted], page.size)]
    size = (cut[2] - cut[0]) / scale

    def place(x: float, y: float) -> tuple[float, float]:
        return (x - cut[0] / scale) / size * render.SIZE, (y - cut[1] / scale) / size * render.SIZE

    return seen(page.crop(tuple(cut))), place  # type: ignore[arg-type]


def _whole(known: Known, height: float) -> bool:
    """Whether all of something that stands so high in a picture lies in it."""
    return all(0.4 * height <= at <= render.SIZE - 0.4 * height for at in known.middle)


def _pages(rng: random.Random) -> list[Sight]:
    ink = rng.choice((3.2, 4.0, 4.5, 4.5, 5.0, 6.0))
    things = pages.place(rng, "train", rng.sample(scenes.KINDS, rng.randint(2, 4)), ink)
    page = pages.draw_page({"side": SIDE, "ink": ink, "things": things})
    found = [Sight(seen(page), seen(page), ())]
    for thing in things:
        picture, place = _crop(rng, page, thing["box"])
        height = ink * abs(place(1, 0)[0] - place(0, 0)[0])
        near = [_digit(t["scan"], place(*_middle(t["box"]))) for t in things]
        found.append(like(picture, [known for known in near if _whole(known, height) and height > 7], _OF_DIGITS))
    return found


def _plates(rng: random.Random) -> list[Sight]:
    """Nine plates at once, as crops show one: a digit for each cell, so that many are seen in little time."""
    canvas, found = render.blank(_PAGE), []
    for cell in range(GRID * GRID):
        left, top = cell % GRID * render.CELL, cell // GRID * render.CELL
        around = rng.choice((*render.COLOURS.values(), _PAGE, (120, 120, 120)))
        canvas[top : top + render.CELL, left : left + render.CELL] = around
    for cell in range(GRID * GRID):
        height = rng.randint(9, 21)
        room = max(0, render.CELL - height) // 2
        middle = [at * render.CELL + 12 + rng.randint(-room - 1, room + 1) for at in (cell % GRID, cell // GRID)]
        scan = rng.choice(rng.choice(render.scans("train")))
        if rng.random() < 0.25:
            _fill(canvas, middle, height * 1.3 + 4, render.WHITE)
        _fill(canvas, middle, height * rng.uniform(1.1, 1.5), sheets.PLATE)
        found.append((middle, height, scan))
    for (x, y), height, scan in found:
        ink = Image.fromarray((vision.varied(render.digit_stamp(scan), rng) * 255).astype(np.uint8))
        stamp = np.asarray(ink.resize((height, height), Image.Resampling.BILINEAR), np.float32) / np.float32(255)
        render.paint(canvas, stamp, render.WHITE, round(x - height / 2), round(y - height / 2))
    return [like(canvas, [_digit(scan, (x, y)) for (x, y), _, scan in found], _OF_DIGITS)]


def _fill(canvas: render.Canvas, middle: Sequence[float], side: float, colour: tuple[int, int, int]) -> None:
    """A square of a colour around a place."""
    x1, y1, x2, y2 = (max(0, round(edge)) for edge in sheets.middle([*middle, *middle], side))
    canvas[y1:y2, x1:x2] = colour


def _films(rng: random.Random) -> list[Sight]:
    (row,) = films.rows("train", 1, rng.getrandbits(40), task="digit", frames=9, others=1)
    frames, found = films.frames_of(row), []
    for moment in row.columns["facts"]["moments"]:
        shown = seen(frames[moment["frame"]])
        found.append(like(shown, [_digit(moment["scan"], _middle(moment["box"]))], _OF_DIGITS))
    sheet = seen(row.media[0].value)
    return [*found, Sight(sheet, sheet, ())]


def _library(rng: random.Random) -> list[Sight]:
    page = rng.choice(library.collection("train", rng.randrange(3), 240, rng.choice((3.2, 4.5)), 432))
    drawn = page.draw()
    picture, place = _crop(rng, drawn, library.PLATES[page.plate], far=1.5)
    known = _digit(page.scan, place(*_middle(library.PLATES[page.plate])))
    near = like(picture, [known] if _whole(known, 14) else [], _OF_DIGITS)
    return [near, Sight(seen(drawn), seen(drawn), ())]


def _charts(rng: random.Random) -> list[Sight]:
    (row,) = charts.rows("train", 1, rng.getrandbits(40), task="value", kind="bar", marks=rng.randint(2, 4))
    facts, page = row.columns["facts"], row.media[0].value
    found = [Sight(seen(page), seen(page), ())]
    for name, value in zip(facts["names"], facts["values"]):
        picture, place = _crop(rng, page, charts.mark_box(facts, name), far=1.3)
        x, y = charts.top_of(facts, name)
        known = Known(place(x, y - 2.2), render.number_stamp(value), render.COLOURS[name])
        found.append(like(picture, [known] if _whole(known, 15) else [], _OF_SIGNS))
    return found


def _games(rng: random.Random) -> list[Sight]:
    (row,) = games.rows("train", 1, rng.getrandbits(40), task="2048", size=3, plays=(0, 25))
    colours = list(render.COLOURS.values())
    shown = [
        Known((c * render.CELL + 12, r * render.CELL + 12), render.number_stamp(tile), colours[tile - 1])
        for r, line in enumerate(row.columns["state"])
        for c, tile in enumerate(line)
        if 0 < tile <= len(colours)
    ]
    return [like(seen(row.media[0].value), shown, _OF_SIGNS)]


def _canvases(rng: random.Random) -> list[Sight]:
    shown = [vision.canvas(rng)[0] for _ in range(3)]
    return [Sight(canvas, canvas, ()) for canvas in shown]


def _middle(box: Sequence[float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


KINDS: tuple[tuple[Callable[[random.Random], list[Sight]], float], ...] = (
    (_plates, 8.0),
    (_pages, 1.5),
    (_films, 1.5),
    (_library, 1.0),
    (_charts, 1.0),
    (_games, 1.0),
    (_canvases, 0.8),
)
"""Makers of pictures, and how often each is asked."""


class Sights(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Batch k of pictures, a function of (seed, k) only: as shown, as they should look, and the cells that should."""

    def __init__(self, steps: int, seed: int, size: int = 48) -> None:
        self.steps, self.seed, self.size = steps, seed, size

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = random.Random(f"sights/{self.seed}/{k}")
        found: list[Sight] = []
        while len(found) < self.size:
            found += sights(rng)
        found = found[: self.size]
        cells = torch.zeros(self.size, GRID * GRID, dtype=torch.bool)
        for i, sight in enumerate(found):
            cells[i, list(sight.cells)] = True
        shown, drawn = (torch.from_numpy(np.stack([s[i] for s in found]).transpose(0, 3, 1, 2)) for i in (0, 1))
        return shown.contiguous(), drawn.contiguous(), cells
