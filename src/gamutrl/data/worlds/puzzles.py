"""Jigsaws: a picture cut in a grid of pieces, shuffled; where does each piece belong?

Knobs: `shape` (rows, columns), `source` ("landscape": drawn, lit from the left, or "photo": crops of the photographs
that scikit-learn ships, their right part held out for the test split), `form`. After Jigsaw-R1 (arXiv 2505.23590):
`full` asks for the original number of the piece now at each position, row by row; `pair` how two pieces lay to each
other.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from gamutrl.core import Part, image
from gamutrl.data.worlds import base, render
from gamutrl.data.worlds.base import Query, Solution, Split, Task
from gamutrl.data.worlds.scenes import LETTERS, lettered

STYLES = base.STYLES


def answers(task: str, **knobs: Any) -> Sequence[str]:
    """The answers a policy that does not look could always give."""
    if task == "full":
        pieces = int(np.prod(knobs.get("shape", (2, 2))))
        return [" ".join(map(str, order)) for order in itertools.permutations(range(1, pieces + 1))]
    return _OFFERED.answers(task, **knobs)


def landscape(seed: int) -> render.Canvas:
    """Sky over hills over a field, brighter towards one side, so that every piece has a place."""
    rng = random.Random(seed)
    y, x = np.mgrid[0 : render.SIZE, 0 : render.SIZE].astype(np.float32) / render.SIZE
    sky = np.array([rng.randint(60, 110), rng.randint(110, 170), 230], np.float32)
    haze = np.array([230, rng.randint(200, 235), rng.randint(170, 220)], np.float32)
    field = np.array([rng.randint(40, 110), rng.randint(110, 160), rng.randint(30, 60)], np.float32)
    horizon = rng.uniform(0.4, 0.6)
    ridge = horizon + 0.08 * np.sin(x * rng.uniform(4, 11) + rng.uniform(0, 6)) + 0.04 * np.sin(x * rng.uniform(12, 22))
    above = sky + (haze - sky) * np.clip(y / horizon, 0, 1)[..., None]
    below = field * (1.15 - 0.75 * (y - ridge) / (1 - horizon))[..., None]
    view = np.where((y < ridge)[..., None], above, below)
    return np.clip(view * (1.25 - 0.7 * x)[..., None], 0, 255).astype(np.uint8)


@cache
def _photographs() -> tuple[Image.Image, ...]:
    from sklearn.datasets import load_sample_images

    return tuple(Image.fromarray(photo) for photo in load_sample_images().images)


def photo(number: int, left: int, top: int, side: int) -> render.Canvas:
    """A square of a photograph, as a canvas."""
    crop = _photographs()[number].resize(
        (render.SIZE, render.SIZE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    return np.asarray(crop)


def cut(canvas: render.Canvas, shape: tuple[int, int], order: Sequence[int]) -> render.Canvas:
    """The shuffled picture: at position k (from 0, row by row) lies the piece that was at `order[k]`.

    What does not divide evenly is cut off at the right and the bottom, then stretched back.
    """
    down, across = shape
    height, width = render.SIZE // down, render.SIZE // across
    whole = canvas[: height * down, : width * across]
    pieces = [
        whole[r * height : (r + 1) * height, c * width : (c + 1) * width] for r in range(down) for c in range(across)
    ]
    mixed = np.concatenate(
        [np.concatenate([pieces[order[r * across + c]] for c in range(across)], 1) for r in range(down)], 0
    )
    if mixed.shape[:2] == (render.SIZE, render.SIZE):
        return mixed
    return np.asarray(Image.fromarray(mixed).resize((render.SIZE, render.SIZE), Image.Resampling.BILINEAR))


def _draw_full(rng: random.Random, split: Split, shape: tuple[int, int] = (2, 2), source: str = "landscape") -> Any:
    pieces = list(range(shape[0] * shape[1]))
    order = rng.sample(pieces, len(pieces))
    facts: dict[str, Any] = {"shape": list(shape), "order": order}
    if source == "landscape":
        facts["landscape"] = rng.getrandbits(48)
    elif source == "photo":
        number = rng.randrange(len(_photographs()))
        wide, high = _photographs()[number].size
        low, end = (0, wide * 3 // 5) if split == "train" else (wide * 3 // 5, wide)
        side = rng.randint(120, min(high, end - low))
        facts["photo"] = [number, rng.randint(low, end - side), rng.randint(0, high - side), side]
    else:
        raise ValueError(f"A jigsaw's source is 'landscape' or 'photo', not {source!r}.")
    return facts, {"shape": list(shape)}


def _solve_full(facts: dict[str, Any], query: Query) -> Solution:
    order = [piece + 1 for piece in facts["order"]]
    thought = ", ".join(f"{k + 1} is {piece}" for k, piece in enumerate(order))
    every = itertools.permutations(sorted(order)) if len(order) <= 4 else ()
    return Solution(" ".join(map(str, order)), thought, [" ".join(map(str, some)) for some in every])


def _draw_pair(rng: random.Random, split: Split, **knobs: Any) -> Any:
    """How the piece now at one position lay to that at another, as lettered options."""
    facts, query = _draw_full(rng, split, **knobs)
    down, across = facts["shape"]
    first, second = rng.sample(range(down * across), 2)
    (row, column), (other_row, other_column) = (divmod(facts["order"][k], across) for k in (first, second))
    vertical = ("upper", "", "lower")[(row > other_row) - (row < other_row) + 1]
    sideways = ("left", "", "right")[(column > other_column) - (column < other_column) + 1]
    right = f"{vertical} {sideways}".strip()
    if down == 1:
        options = ["left", "right"]
    elif across == 1:
        options = ["upper", "lower"]
    else:
        directions = ("left", "right", "upper", "lower", "upper left", "upper right", "lower left", "lower right")
        options = [right, *rng.sample([other for other in directions if other != right], 3)]
    rng.shuffle(options)
    return facts, query | {"first": first + 1, "second": second + 1, "options": options, "right": right}


def _solve_pair(facts: dict[str, Any], query: Query) -> Solution:
    full = _solve_full(facts, query)
    letters = LETTERS[: len(query["options"])]
    return Solution(letters[query["options"].index(query["right"])], full.thought, letters)


def draw_canvas(facts: dict[str, Any]) -> render.Canvas:
    whole = photo(*facts["photo"]) if "photo" in facts else landscape(facts["landscape"])
    return cut(whole, tuple(facts["shape"]), facts["order"])


def _media(facts: dict[str, Any]) -> list[Part]:
    return [image(render.picture(draw_canvas(facts)))]


def _grid(query: Query) -> str:
    return "x".join(map(str, query["shape"]))


_TASKS: dict[str, Task] = {
    "full": Task(
        _draw_full,
        lambda q: f"Jigsaw {_grid(q)}. Piece at each place?",
        _solve_full,
        _media,
        lambda facts: f"a jigsaw of {len(facts['order'])} pieces",
    ),
    "pair": Task(
        _draw_pair,
        lambda q: f"Jigsaw {_grid(q)}. Where is piece {q['first']} from {q['second']}? {lettered(q['options'])}",
        _solve_pair,
        _media,
        lambda facts: f"a jigsaw of {len(facts['order'])} pieces",
        tuple(LETTERS),
    ),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("puzzles", _TASKS)
rows, demonstrate = _OFFERED.rows, _OFFERED.demonstrate
