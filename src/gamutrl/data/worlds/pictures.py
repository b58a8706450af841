"""Prompts for pictures of coloured shapes and handwritten digits, what each asks for in columns, and target pictures.

Columns of a row: `objects`, `counts`, `colors`, `relation` (of the first object to the second) and `cells`, as GenEval
states them; `facts`, the things of one picture that fits, with boxes as fractions of the canvas; `question`, about any
such picture, and `question_answer`. Knobs of all tasks: `grid` (things lie in grid × grid cells) and `unseen` (test
rows about kinds that training never names).
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gamutrl.core import Prompt
from gamutrl.data.worlds import render
from gamutrl.data.worlds.base import Split
from gamutrl.data.worlds.scenes import COLOURS, KINDS, SHAPES, Kind

STYLES = ("direct",)
SHADE = 24
"""The grey of the ground."""

NUMBERS = ("no", "a", "two", "three", "four", "five", "six")
RELATIONS = ("left of", "right of", "above", "below")
UNSEEN: tuple[Kind, ...] = (("red", "triangle"), ("green", "circle"), ("blue", "cross"), ("yellow", "square"))
"""Kinds that no training row names, though it names each colour and each shape."""

WORDS = (
    *NUMBERS[1:],
    *COLOURS,
    *(noun for shape in SHAPES for noun in (shape, f"{shape}es" if shape == "cross" else f"{shape}s")),
    *("and", "left", "of", "right", "above", "below", "top", "bottom", "center", ",", "the", "digit"),
    *map(str, range(10)),
)
"""Every word that a prompt may hold; the comma stands as a word of its own."""

Thing = dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """What a prompt asks for: kinds of objects, how many of each, and how the first lies to the second or where each
    lies."""

    kinds: tuple[Kind, ...]
    counts: tuple[int, ...]
    relation: str | None = None
    cells: tuple[str, ...] | None = None

    @property
    def text(self) -> str:
        """The prompt: `two red circles and a blue square`."""
        said = [
            f"{NUMBERS[count]} {colour} {_plural(shape, count)}"
            for (colour, shape), count in zip(self.kinds, self.counts)
        ]
        if self.cells:
            return ", ".join(f"{thing} {cell}" for thing, cell in zip(said, self.cells))
        return f" {self.relation or 'and'} ".join(said)

    @property
    def columns(self) -> dict[str, Any]:
        """GenEval's way to say it."""
        return {
            "objects": [shape for _, shape in self.kinds],
            "counts": list(self.counts),
            "colors": [colour for colour, _ in self.kinds],
            "relation": self.relation,
            "cells": list(self.cells) if self.cells else None,
        }


def rows(
    split: Split, n: int, seed: int = 0, *, task: str, grid: int = 2, unseen: bool = False, of: str = "", **knobs: Any
) -> list[Prompt]:
    """`n` rows of a task; no prompt is in both splits, but for digits, of which the scans are apart.

    Rows of "twins" come in twos that differ in one fact; both have the number of their `pair` and the `twin`'s text.
    of: the task that they are of (default: any).
    """
    if split not in ("train", "test"):
        raise ValueError(f"A world's split is 'train' or 'test', not {split!r}.")
    if task not in TASKS:
        raise ValueError(f"The world pictures has no task {task!r}; it has: {', '.join(TASKS)}.")
    if of and (task != "twins" or of not in _PLAIN):
        raise ValueError(f"Only twins are `of` a task, one of {', '.join(_PLAIN)}; not {task!r} of {of!r}.")
    if unseen and split == "train":
        raise ValueError("Only test rows may name unseen kinds.")
    made = []
    for i in range(n):
        number = i // 2 if task == "twins" else i
        rng = random.Random(f"pictures/{task}/{split}/{seed}/{number}")
        stem = f"pictures/{task}/{split}/{seed}"
        row_id = f"{stem}/{i}"
        if task == "digit":
            made.append(_digit_row(rng, split, row_id))
            continue
        own = rng.choice(_PLAIN) if task == "any" else task
        kinds = UNSEEN if unseen else tuple(kind for kind in KINDS if kind not in UNSEEN)
        try:
            wish, twin = _apart(rng, split, own, of, kinds, grid, knobs)
        except TypeError as error:
            raise ValueError(f"The task {task!r} of pictures does not take these knobs: {error}.") from None
        if i % 2 and task == "twins":
            wish, twin = twin, wish
        row = _row(wish, grid, own, row_id)
        if task == "twins":
            row = replace(row, columns={**row.columns, "pair": number, "twin": twin.text}, pool=f"{stem}/pair{number}")
        made.append(row)
    return made


def demonstrate(row: Prompt, style: str = "direct", error_rate: float = 0.0, seed: int = 0) -> str:
    """A plan of a picture that fits the row: each thing with its cell; one thing is wrong with `error_rate`."""
    if style not in STYLES:
        raise ValueError(f"No style is called {style!r}; there are: {', '.join(STYLES)}.")
    rng = random.Random(f"{row.id}/{style}/{seed}")
    things = [dict(thing) for thing in placed(row, seed)]
    if rng.random() < error_rate:
        wrong = rng.choice(things)
        if "digit" in wrong:
            wrong["digit"] = (wrong["digit"] + rng.randint(1, 9)) % 10
        else:
            wrong["colour"] = rng.choice([colour for colour in COLOURS if colour != wrong["colour"]])
    return plan(things, row.columns["grid"])


def answers(task: str, **knobs: Any) -> Sequence[str]:
    """There is no answer to give without looking: a picture is asked for."""
    return ()


# Pictures


def target(row: Prompt, size: int = 32, seed: int = 0) -> Image.Image:
    """A picture that fits the row, `size` pixels wide and high; another one for each seed."""
    return render.picture(draw(placed(row, seed), size))


def placed(row: Prompt, seed: int = 0) -> list[Thing]:
    """The things of a picture that fits the row, with boxes as fractions of the canvas; seed 0 gives its `facts`."""
    columns = row.columns
    if not seed:
        return list(columns["facts"])
    rng = random.Random(f"{row.id}/{seed}")
    if columns["task"] == "digit":
        digit = columns["facts"][0]["digit"]
        return [_digit(rng, digit, "test" if columns["facts"][0]["scan"] in render.scans("test")[digit] else "train")]
    kinds = tuple(zip(columns["colors"], columns["objects"]))
    cells = columns["cells"]
    wish = Wish(kinds, tuple(columns["counts"]), columns["relation"], tuple(cells) if cells else None)
    return _place(rng, wish, columns["grid"])


def draw(things: Sequence[Thing], size: int = 32) -> render.Canvas:
    """The canvas, `[size, size, 3]`, that shows these things; at most 72 pixels wide and high."""
    if not 16 <= size <= render.SIZE:
        raise ValueError(f"A picture's side is 16 to {render.SIZE} pixels, not {size}.")
    canvas = np.full((size, size, 3), SHADE, dtype=np.uint8)
    for thing in things:
        x1, y1, x2, _ = thing["box"]
        side = round((x2 - x1) * size)
        if "digit" in thing:
            stamp, colour = _enlarged(thing["scan"], side), render.WHITE
        else:
            stamp, colour = render.shape_stamp(thing["shape"], side), render.COLOURS[thing["colour"]]
        x, y = (min(round(at * size), size - side) for at in (x1, y1))
        render.paint(canvas, stamp, colour, x, y)
    return canvas


def plan(things: Sequence[Thing], grid: int = 2) -> str:
    """Every thing with its cell, in reading order: `red circle top left, blue square bottom right`."""
    names = cells(grid)

    def where(thing: Thing) -> int:
        x1, y1, x2, y2 = thing["box"]
        return int((y1 + y2) / 2 * grid) * grid + int((x1 + x2) / 2 * grid)

    ordered = sorted(things, key=where)
    return ", ".join(
        f"digit {thing['digit']}" if "digit" in thing else f"{thing['colour']} {thing['shape']} {names[where(thing)]}"
        for thing in ordered
    )


def cells(grid: int) -> tuple[str, ...]:
    """The names of a grid's cells in reading order, `top left` first."""
    if grid not in (2, 3):
        raise ValueError(f"A grid is 2 or 3 cells wide, not {grid}.")
    down, across = (
        (("top", "bottom"), ("left", "right")) if grid == 2 else (("top", "", "bottom"), ("left", "", "right"))
    )
    return tuple(f"{row} {column}".strip() or "center" for row in down for column in across)


# The same pictures as codes


CODES = 1 + len(KINDS)
"""How many codes there are: one for the ground, then one a kind."""


def codes(things: Sequence[Thing], side: int = 6) -> NDArray[np.int64]:
    """Shapes as a `[side, side]` grid of codes: a kind's where a shape's centre lies, 0 elsewhere."""
    found = np.zeros((side, side), dtype=np.int64)
    for thing in things:
        x1, y1, x2, y2 = thing["box"]
        at = int((y1 + y2) / 2 * side), int((x1 + x2) / 2 * side)
        found[at] = 1 + KINDS.index((thing["colour"], thing["shape"]))
    return found


def decoded(codes_SS: NDArray[np.int64]) -> list[Thing]:
    """The things that a grid of codes shows, each filling most of its own code's cell; unknown codes show nothing."""
    side = len(codes_SS)
    things = []
    for y, x in zip(*np.nonzero((codes_SS > 0) & (codes_SS < CODES))):
        colour, shape = KINDS[codes_SS[y, x] - 1]
        box = [(x + 0.1) / side, (y + 0.1) / side, (x + 0.9) / side, (y + 0.9) / side]
        things.append({"shape": shape, "colour": colour, "box": [float(edge) for edge in box]})
    return things


# What is asked


def _object(rng: random.Random, kinds: Sequence[Kind], grid: int) -> Wish:
    return Wish((rng.choice(kinds),), (1,))


def _count(rng: random.Random, kinds: Sequence[Kind], grid: int, most: int = 4) -> Wish:
    """Two to `most` of one kind, equally often."""
    return Wish((rng.choice(kinds),), (rng.randint(2, min(most, grid * grid)),))


def _pair(rng: random.Random, kinds: Sequence[Kind], grid: int) -> Wish:
    return Wish(_two(rng, kinds), (1, 1))


def _relation(rng: random.Random, kinds: Sequence[Kind], grid: int) -> Wish:
    return Wish(_two(rng, kinds), (1, 1), relation=rng.choice(RELATIONS))


def _mixed(rng: random.Random, kinds: Sequence[Kind], grid: int) -> Wish:
    """Two kinds, one of them once, the other twice or thrice."""
    counts = [1, rng.randint(2, min(3, grid * grid - 1))]
    rng.shuffle(counts)
    return Wish(_two(rng, kinds), tuple(counts))


def _layout(rng: random.Random, kinds: Sequence[Kind], grid: int) -> Wish:
    """Two kinds, each in a cell that is named."""
    return Wish(_two(rng, kinds), (1, 1), cells=tuple(rng.sample(cells(grid), 2)))


def _two(rng: random.Random, kinds: Sequence[Kind]) -> tuple[Kind, Kind]:
    """Two kinds; the first may be unseen, the second never is."""
    first = rng.choice(kinds)
    return first, rng.choice([kind for kind in KINDS if kind != first and kind not in UNSEEN])


_TASKS: dict[str, Callable[..., Wish]] = {
    "object": _object,
    "count": _count,
    "pair": _pair,
    "relation": _relation,
    "mixed": _mixed,
    "layout": _layout,
}
_PLAIN = tuple(_TASKS)
TASKS = (*_PLAIN, "any", "twins", "digit")


def _apart(
    rng: random.Random, split: Split, task: str, of: str, kinds: Sequence[Kind], grid: int, knobs: dict[str, Any]
) -> tuple[Wish, Wish]:
    """A wish of the split and its twin: one that differs in one fact and is of the same split."""
    while True:
        if task != "twins":
            wish = _TASKS[task](rng, kinds, grid, **knobs)
            if _split_of(wish) == split:
                return wish, wish
            continue
        wish = _TASKS[of or rng.choice(_PLAIN)](rng, kinds, grid, **knobs)
        twin = _changed(rng, wish, grid)
        if _split_of(wish) == _split_of(twin) == split and not _names_unseen(twin, kinds):
            return wish, twin


def _split_of(wish: Wish) -> Split:
    """Every fifth prompt is held out, whatever the seed."""
    return "test" if zlib.crc32(wish.text.encode()) % 5 == 4 else "train"


def _names_unseen(wish: Wish, allowed: Sequence[Kind]) -> bool:
    return any(kind in UNSEEN and kind not in allowed for kind in wish.kinds)


def _changed(rng: random.Random, wish: Wish, grid: int) -> Wish:
    """The same wish with a colour, a shape, a count or a place changed, or with two colours exchanged."""
    (colour, shape), *rest = wish.kinds
    ways: list[Wish] = [
        replace(wish, kinds=((rng.choice([c for c in COLOURS if c != colour]), shape), *rest)),
        replace(wish, kinds=((colour, rng.choice([s for s in SHAPES if s != shape])), *rest)),
    ]
    if rest and rest[0][0] != colour:
        ways.append(replace(wish, kinds=((rest[0][0], shape), (colour, rest[0][1]))))
    if sum(wish.counts) < grid * grid and not wish.relation and not wish.cells:
        ways.append(replace(wish, counts=(wish.counts[0] + 1, *wish.counts[1:])))
    if wish.relation:
        ways.append(replace(wish, relation=rng.choice([r for r in RELATIONS if r != wish.relation])))
    if wish.cells:
        ways.append(replace(wish, cells=wish.cells[::-1]))
    changed = [way for way in ways if len(set(way.kinds)) == len(way.kinds)]
    return rng.choice(changed)


# Rows


def _row(wish: Wish, grid: int, task: str, row_id: str) -> Prompt:
    rng = random.Random(f"{row_id}/facts")
    things = _place(rng, wish, grid)
    question, answer = _question(rng, wish)
    columns: dict[str, Any] = {
        "world": "pictures",
        "task": task,
        "grid": grid,
        "prompt": wish.text,
        **wish.columns,
        "facts": things,
        "question": question,
        "question_answer": answer,
    }
    if wish.cells:
        columns |= {"boxes": [thing["box"] for thing in things], "labels": [_name(thing) for thing in things]}
    return Prompt.ask(wish.text, id=row_id, **columns)


def _digit_row(rng: random.Random, split: Split, row_id: str) -> Prompt:
    thing = _digit(rng, rng.randrange(10), split)
    digit = str(thing["digit"])
    columns: dict[str, Any] = {"objects": [digit], "counts": [1], "colors": [None], "relation": None, "cells": None}
    return Prompt.ask(
        f"the digit {digit}",
        id=row_id,
        world="pictures",
        task="digit",
        grid=2,
        prompt=f"the digit {digit}",
        **columns,
        facts=[thing],
        question="Which digit?",
        question_answer=digit,
    )


def _question(rng: random.Random, wish: Wish) -> tuple[str, str]:
    """A question about any picture that fits, and its answer."""
    which = rng.randrange(len(wish.kinds))
    (colour, shape), count = wish.kinds[which], wish.counts[which]
    if wish.cells:
        return f"Where is the {colour} {shape}?", wish.cells[which]
    if wish.relation:
        first, second = (" ".join(kind) for kind in wish.kinds)
        return f"Where is the {first} from the {second}?", wish.relation.removesuffix(" of")
    if sum(wish.counts) > len(wish.counts):
        return f"How many {colour} {_plural(shape, 2)}?", str(count)
    if sum(shape == other for _, other in wish.kinds) == 1:
        return f"What color is the {shape}?", colour
    return f"What shape is {colour}?", shape


def _place(rng: random.Random, wish: Wish, grid: int) -> list[Thing]:
    """Things in cells of their own, well inside of them, so that no two touch."""
    kinds = [kind for kind, count in zip(wish.kinds, wish.counts) for _ in range(count)]
    if len(kinds) > grid * grid:
        raise ValueError(f"{len(kinds)} things need a larger grid than {grid} × {grid} cells.")
    if wish.cells:
        where = [cells(grid).index(cell) for cell in wish.cells]
    elif wish.relation:
        line, (low, high) = rng.randrange(grid), sorted(rng.sample(range(grid), 2))
        first, second = (low, high) if wish.relation in ("left of", "above") else (high, low)
        level = wish.relation in ("left of", "right of")
        where = [line * grid + at if level else at * grid + line for at in (first, second)]
    else:
        where = rng.sample(range(grid * grid), len(kinds))
    things = []
    for (colour, shape), cell in zip(kinds, where):
        # A layout that is asked for has one box a cell; elsewhere size and place vary.
        side = 0.7 if wish.cells else rng.uniform(0.6, 0.8)
        x, y = (0.15, 0.15) if wish.cells else (rng.uniform(0.08, 0.92 - side) for _ in range(2))
        corner = [(cell % grid + x) / grid, (cell // grid + y) / grid]
        box = [*corner, corner[0] + side / grid, corner[1] + side / grid]
        things.append({"shape": shape, "colour": colour, "box": [round(edge, 4) for edge in box]})
    return things


def _digit(rng: random.Random, digit: int, split: Split) -> Thing:
    """A scan that fills three quarters of the canvas, about in its middle."""
    x, y = (round(0.125 + rng.uniform(-0.05, 0.05), 4) for _ in range(2))
    return {"digit": digit, "scan": rng.choice(render.scans(split)[digit]), "box": [x, y, x + 0.75, y + 0.75]}


@cache
def _enlarged(scan: int, side: int) -> render.Stamp:
    stamp = Image.fromarray(render.digit_stamp(scan))
    return np.clip(np.asarray(stamp.resize((side, side), Image.Resampling.BILINEAR)), 0, 1)


def _name(thing: Thing) -> str:
    return f"{thing['colour']} {thing['shape']}"


def _plural(shape: str, count: int) -> str:
    return shape if count == 1 else f"{shape}es" if shape == "cross" else f"{shape}s"
