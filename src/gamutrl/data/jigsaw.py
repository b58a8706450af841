"""Jigsaws of any picture: cut into a grid, shuffled, with a question whose answer is known (Jigsaw-R1, 2505.23590).

Pieces and places are numbered row by row from 1. Labels cost nothing: any folder of pictures will do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from PIL import Image

from gamutrl.core import Message, Prompt, image, text
from gamutrl.data.problems import BadRow
from gamutrl.data.transforms import lettered

Question = Literal["full", "pair", "multiple", "single", "box"]
Place = tuple[int, int]
"""A row and a column, from 0."""

RELATIONS: dict[Place, str] = {
    (0, -1): "directly to the left of",
    (0, 1): "directly to the right of",
    (-1, 0): "directly above",
    (1, 0): "directly below",
    (-1, -1): "on the upper left of",
    (-1, 1): "on the upper right of",
    (1, -1): "on the lower left of",
    (1, 1): "on the lower right of",
}
"""Where one piece lies from another, by the signs of the differences of row and column."""

ANSWER_AS = {
    "full": "the numbers of the pieces row by row, with blanks between them",
    "pair": "the letter of the one right option",
    "multiple": "the letter of the one right option",
    "single": "one number",
    "box": "as [left, top, right, bottom] in pixels",
}


@dataclass(frozen=True)
class Jigsaw:
    """A change: the row's first picture as a jigsaw of `rows` × `columns` pieces, with a question about it.

    question: "full" asks which piece lies at each place; "pair" where one piece belongs as seen from another;
    "multiple" which of `options` lists says it all; "single" which piece lies at one place; "box" where a part of the
    picture went (here parts of the pieces trade places and the pieces stay). think: whether reasoning is asked for.
    swap: rows and columns are exchanged half of the time. border: the share of each piece's sides that is blackened, so
    that edges do not give it away. Columns added: jigsaw (rows, columns), answer_type.
    """

    rows: int = 2
    columns: int = 1
    question: Question = "pair"
    think: bool = True
    swap: bool = False
    border: float = 0.0
    options: int = 4

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        pictures = [part for part in prompt.media if part.kind == "image"]
        if not pictures:
            raise BadRow("a jigsaw needs a picture, and the row has none.")
        rng = random.Random(seed)
        grid = (self.rows, self.columns)
        if grid[0] * grid[1] < 2:
            raise BadRow(f"a jigsaw of {grid[0]} × {grid[1]} pieces has nothing to put together.")
        if self.swap and rng.random() < 0.5:
            grid = grid[::-1]
        whole = cropped(pictures[0].value.convert("RGB"), grid)
        asked_of = f"The picture is a grid of {grid[0]} by {grid[1]} cells, numbered so:\n```\n{numbered(grid)}\n```"
        if self.question == "box":
            shown, asked, answer = _moved_box(whole, grid, rng)
        else:
            asked_of += (
                "\nIt was cut along the cells and shuffled; each piece keeps the number of the cell it came from."
            )
            order = rng.sample(range(grid[0] * grid[1]), grid[0] * grid[1])
            shown = shuffled(whole, grid, order, self.border)
            asked, answer = self._ask([piece + 1 for piece in order], grid, rng)
        parts = (image(shown), text(f"{asked_of}\n{asked}\n\n{_how(self.question, self.think)}"))
        columns = {**prompt.columns, "jigsaw": list(grid), "answer_type": self.question}
        return replace(prompt, messages=(Message("user", parts),), answer=answer, columns=columns)

    def _ask(self, order: list[int], grid: Place, rng: random.Random) -> tuple[str, str]:
        """The question about pieces `order[place - 1]`, and its answer."""
        match self.question:
            case "full":
                return "Which piece lies at each place?", " ".join(map(str, order))
            case "pair":
                first, second = rng.sample(range(1, len(order) + 1), 2)
                right = relation(order[first - 1], order[second - 1], grid[1])
                choices = pair_choices(grid, right, rng.randrange(len(_relations(grid))), rng)
                said = [f"{first} is {RELATIONS[choice]} {second}" for choice in choices]
                asked = "Think of the picture put together. Which is true of the pieces now at these places?"
                return f"{asked}\n{lettered(said)}", "ABCDEFGH"[choices.index(right)]
            case "multiple":
                lists = {tuple(order)}
                count = min(self.options, math.factorial(len(order)))
                while len(lists) < count:
                    lists.add(tuple(rng.sample(order, len(order))))
                options = rng.sample(sorted(lists), count)
                said = [" ".join(map(str, option)) for option in options]
                return f"Which list names the piece at each place?\n{lettered(said)}", (
                    "ABCDEFGH"[options.index(tuple(order))]
                )
            case _:
                place = rng.randrange(len(order))
                return f"Which piece lies at place {place + 1}?", str(order[place])


def cropped(picture: Image.Image, grid: Place) -> Image.Image:
    """The picture without what does not divide evenly, at the right and the bottom."""
    width, height = (side // parts * parts for side, parts in zip(picture.size, grid[::-1]))
    if not width or not height:
        raise BadRow(f"a picture of {picture.size} pixels cannot be cut into {grid[0]} × {grid[1]} pieces.")
    return picture.crop((0, 0, width, height))


def shuffled(whole: Image.Image, grid: Place, order: Sequence[int], border: float = 0.0) -> Image.Image:
    """The picture with piece `order[k]` (from 0) at place k; a share `border` of each piece's sides is black."""
    out = Image.new("RGB", whole.size)
    for place, piece in enumerate(order):
        x1, y1, x2, y2 = cell(whole.size, grid, piece)
        dx, dy = int(border * (x2 - x1) / 2), int(border * (y2 - y1) / 2)
        left, top, _, _ = cell(whole.size, grid, place)
        out.paste(whole.crop((x1 + dx, y1 + dy, x2 - dx, y2 - dy)), (left + dx, top + dy))
    return out


def cell(size: Place, grid: Place, place: int) -> tuple[int, int, int, int]:
    """The corners of a place (from 0) of a picture of this `(width, height)`."""
    width, height = size[0] // grid[1], size[1] // grid[0]
    row, column = divmod(place, grid[1])
    return column * width, row * height, (column + 1) * width, (row + 1) * height


def relation(first: int, second: int, columns: int) -> Place:
    """Where a piece (from 1) lies from another in the picture put together."""
    (row, column), (other_row, other_column) = (divmod(piece - 1, columns) for piece in (first, second))
    return (row > other_row) - (row < other_row), (column > other_column) - (column < other_column)


def pair_choices(grid: Place, right: Place, slot: int, rng: random.Random) -> list[Place]:
    """The relations that a pair question offers, shuffled, the right one in its slot: two in a row or column, else
    eight."""
    choices = _relations(grid)
    rng.shuffle(choices)
    at = choices.index(right)
    choices[at], choices[slot] = choices[slot], choices[at]
    return choices


def _relations(grid: Place) -> list[Place]:
    if grid[0] == 1:
        return [(0, -1), (0, 1)]
    return [(-1, 0), (1, 0)] if grid[1] == 1 else list(RELATIONS)


def _moved_box(whole: Image.Image, grid: Place, rng: random.Random) -> tuple[Image.Image, str, str]:
    """Boxes of one size, one in each cell, trade places, so that the asked one moves; where it went, in pixels."""
    count = grid[0] * grid[1]
    width, height = whole.size[0] // grid[1], whole.size[1] // grid[0]
    w, h = (max(1, int(side * rng.uniform(0.1, 0.6))) for side in (width, height))
    corners = []
    for place in range(count):
        left, top, _, _ = cell(whole.size, grid, place)
        corners.append((left + rng.randint(0, width - w), top + rng.randint(0, height - h)))
    asked = rng.randrange(count)
    goes_to = rng.sample(range(count), count)
    while goes_to[asked] == asked:
        goes_to = rng.sample(range(count), count)
    shown = whole.copy()
    for here, there in enumerate(goes_to):
        x, y = corners[here]
        shown.paste(whole.crop((x, y, x + w, y + h)), corners[there])
    x, y = corners[goes_to[asked]]
    question = (
        f"In each cell a box of {w} × {h} pixels traded places with another. Where is the one of cell {asked + 1}?"
    )
    return shown, question, str([x, y, x + w, y + h])


def numbered(grid: Place) -> str:
    """The numbers of a grid's cells, a line a row."""
    rows = [range(row * grid[1] + 1, (row + 1) * grid[1] + 1) for row in range(grid[0])]
    return "\n".join(" ".join(map(str, row)) for row in rows)


def _how(question: Question, think: bool) -> str:
    answer = f"the answer, {ANSWER_AS[question]}"
    if think:
        return f"Reason between <think> and </think>, then give {answer}, between <answer> and </answer>."
    return f"Give nothing but {answer}."
