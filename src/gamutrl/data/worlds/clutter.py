"""Clutter to search: scores of shapes, each too small in the model's view to tell its kind, though not its colour.

Targets stand together in a few patches; the rest is spread everywhere. Boxes are in the model's view (72 pixels, with
fractions). Knobs: `side` (pixels of the page), `patches` (at most how many), `each` (at most how many targets in a
patch), `others` (how many other shapes), `size` (of a shape, in the view), `form`, `boxes`. Columns beside the usual
ones: `targets` (their boxes), `evidence` (a box around each patch). `detect` finds what a detector would: a shape is
found only in a picture that shows it large enough.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from gamutrl.core import Part, Prompt, image
from gamutrl.data.worlds import base, render, scenes, sheets, turns
from gamutrl.data.worlds.base import Query, Solution, Split, Task

STYLES = base.STYLES
SIDE = 1008
PATCH = 18.0
"""The side of a patch, in the view."""

Thing = dict[str, Any]
Facts = dict[str, Any]


def demonstrate_turns(
    row: Prompt,
    write: turns.Writer = turns.zoom_call,
    error_rate: float = 0.0,
    seed: int = 0,
    *,
    detour: float = 0.0,
    form: str = "think",
) -> list[str]:
    """The assistant's turns: a closer look at each patch, then the answer."""
    rng = random.Random(f"{row.id}/turns/{seed}")
    columns = row.columns
    solution = _TASKS[columns["task"]].solve(columns["facts"], columns["query"])
    looks = [turns.Look(f"{columns['query']['colour']} here", {"box": box}) for box in columns["evidence"]]
    plan = turns.Plan(looks, solution.thought, solution.written(columns["notation"]))
    plan = turns.clumsy(plan, rng, detour, error_rate, base.wrong_answer(solution, rng) if solution.answer else "")
    return turns.written(plan, write, form)


def detect(
    prompt: Prompt, names: Sequence[str], region: Sequence[float], view: float = render.SIZE, least: float = 8.0
) -> list[dict[str, Any]]:
    """What a detector finds of these names in a region of the page, shown to it in a square of `view` pixels.

    A shape is found if it lies in the region and its shorter side is at least `least` pixels there. Boxes are fractions
    of the region, with label and score.
    """
    width, height = region[2] - region[0], region[3] - region[1]
    found = []
    for thing in prompt.columns["facts"]["things"]:
        x1, y1, x2, y2 = thing["box"]
        inside = region[0] <= x1 and region[1] <= y1 and x2 <= region[2] and y2 <= region[3]
        if not inside or scenes.name(thing) not in names:
            continue
        box = [(x1 - region[0]) / width, (y1 - region[1]) / height, (x2 - region[0]) / width, (y2 - region[1]) / height]
        if min(box[2] - box[0], box[3] - box[1]) * view >= least:
            found.append({"bbox_2d": box, "label": scenes.name(thing), "score": 1.0})
    return found


def draw_page(facts: Facts) -> Image.Image:
    """The page at its full size."""
    sheet = sheets.Sheet(facts["side"])
    for thing in facts["things"]:
        sheet.shape(thing["shape"], render.COLOURS[thing["colour"]], thing["box"])
    return sheet.picture


def _targets(facts: Facts, query: Query) -> list[Thing]:
    return [thing for thing in facts["things"] if scenes.matches(thing, query)]


def _patches(facts: Facts) -> list[list[int]]:
    """A box in whole pixels around the targets of each patch."""
    patches: dict[int, list[Sequence[float]]] = {}
    for thing in facts["things"]:
        if thing["patch"] is not None:
            patches.setdefault(thing["patch"], []).append(thing["box"])
    return [[int(side) for side in sheets.around(boxes, 1.5)] for boxes in patches.values()]


def _draw(
    rng: random.Random,
    split: Split,
    patches: int = 3,
    each: int = 4,
    others: int = 60,
    size: float = 3.0,
    side: int = SIDE,
) -> Any:
    """Targets in patches; others of other colours anywhere, and a few of their colour but not of their shape."""
    colour, shape = rng.choice(scenes.KINDS)
    taken: list[list[float]] = []

    def put(low: Sequence[float], high: Sequence[float]) -> list[float] | None:
        for _ in range(40):
            x, y = rng.uniform(low[0], high[0] - size), rng.uniform(low[1], high[1] - size)
            if all(abs(x - other[0]) > size * 1.3 or abs(y - other[1]) > size * 1.3 for other in taken):
                taken.append([x, y, x + size, y + size])
                return taken[-1]
        return None

    things: list[Thing] = []
    for patch, cell in enumerate(rng.sample(range(9), rng.randint(1, patches))):
        x, y = (at * render.CELL + rng.uniform(0, render.CELL - PATCH) for at in (cell % 3, cell // 3))
        for _ in range(rng.randint(1, each)):
            if box := put((x, y), (x + PATCH, y + PATCH)):
                things.append({"shape": shape, "colour": colour, "box": box, "patch": patch})
        same_colour = rng.choice([other for other in scenes.SHAPES if other != shape])
        if rng.random() < 0.5 and (box := put((x, y), (x + PATCH, y + PATCH))):
            things.append({"shape": same_colour, "colour": colour, "box": box, "patch": patch})
    kinds = [kind for kind in scenes.KINDS if kind[0] != colour]
    for _ in range(others):
        if box := put((0, 0), (render.SIZE, render.SIZE)):
            other_colour, other_shape = rng.choice(kinds)
            things.append({"shape": other_shape, "colour": other_colour, "box": box, "patch": None})
    rng.shuffle(things)
    return {"side": side, "things": things}, {"colour": colour, "shape": shape}


def _solve_regions(facts: Facts, query: Query) -> Solution:
    boxes = _patches(facts)
    return Solution("", f"{len(boxes)} places", boxes=boxes, labels=[scenes.phrase(query)] * len(boxes))


def _solve_count(facts: Facts, query: Query) -> Solution:
    count = len(_targets(facts, query))
    return Solution(str(count), f"{scenes.phrase(query)}: {count}", [str(k) for k in range(1, 13)])


def _media(facts: Facts) -> list[Part]:
    return [image(draw_page(facts))]


def caption(facts: Facts) -> str:
    return f"{len(facts['things'])} small shapes"


def _task(ask: Callable[[Query], str], solve: Callable[[Facts, Query], Solution], constant: Sequence[str]) -> Task:
    return Task(_draw, ask, solve, _media, caption, constant)


def _with_evidence(row: Prompt) -> Prompt:
    facts, query = row.columns["facts"], row.columns["query"]
    targets = [thing["box"] for thing in _targets(facts, query)]
    return replace(row, columns={**row.columns, "targets": targets, "evidence": _patches(facts)})


_TASKS: dict[str, Task] = {
    "regions": _task(
        lambda q: f"Where to look for {scenes.phrase(q, plural=True)}?",
        _solve_regions,
        tuple(Solution(boxes=boxes, labels=["x"]).written() for boxes in ([[0, 0, 72, 72]], [[18, 18, 54, 54]])),
    ),
    "count": _task(
        lambda q: f"How many {scenes.phrase(q, plural=True)}?", _solve_count, [str(k) for k in range(1, 13)]
    ),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("clutter", _TASKS, _with_evidence)
rows, demonstrate, answers = _OFFERED.rows, _OFFERED.demonstrate, _OFFERED.answers
