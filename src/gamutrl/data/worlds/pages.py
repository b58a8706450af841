"""Pages too large to read at once: coloured shapes, each with a small handwritten digit or printed word in it.

In the model's view (72 pixels) the shapes are plain to see and the digits are not; in a crop of a shape they are. So
where to look follows from the question, and what is there only from looking. Knobs of most tasks: `side` (pixels of the
page), `inks` (heights of a digit in the view; each row draws one; from `LEGIBLE` on nothing need be enlarged), `low`,
`high` (how many shapes), `form`; of the task `word` also `letters`. Words are made up, and those of the test split are
in no training row.

Beside the usual columns a row has `evidence` (the boxes, in the view, that must be looked at closely), `need` (whether
they must be) and `ink`.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from gamutrl.core import Part, Prompt, image
from gamutrl.data.worlds import base, render, scenes, sheets, turns
from gamutrl.data.worlds.base import Query, Solution, Split, Task

STYLES = base.STYLES
LEGIBLE = 8.0
"""The height, in pixels of the view, from which a digit can be read without a closer look."""
SIDE = 1008
_CONSONANTS, _VOWELS = "BDFGKLMNPRSTVZ", "AEIOU"

Thing = dict[str, Any]
Facts = dict[str, Any]


def demonstrate_turns(
    row: Prompt,
    write: turns.Writer = turns.zoom_call,
    error_rate: float = 0.0,
    seed: int = 0,
    *,
    detour: float = 0.0,
    always: bool = False,
    form: str = "think",
) -> list[str]:
    """The assistant's turns: a closer look at each piece of evidence, then the answer.

    detour: how often a look goes astray first. always: look closely even where nothing need be enlarged.
    """
    rng = random.Random(f"{row.id}/turns/{seed}")
    columns = row.columns
    solution = _TASKS[columns["task"]].solve(columns["facts"], columns["query"])
    names = columns["query"].get("names") or [""]
    looks = [
        turns.Look(f"look at the {name}".replace("  ", " "), {"box": box})
        for name, box in zip(names, columns["evidence"])
        if always or columns["need"]
    ]
    plan = turns.Plan(looks, solution.thought, solution.answer)
    plan = turns.clumsy(plan, rng, detour, error_rate, base.wrong_answer(solution, rng))
    return turns.written(plan, write, form)


# What is on a page


def place(rng: random.Random, split: Split, kinds: Sequence[scenes.Kind], ink: float) -> list[Thing]:
    """Shapes of these kinds, a cell each, in reading order, each with a digit of this height in its middle."""
    things = []
    for (colour, shape), cell in zip(kinds, rng.sample(range(9), len(kinds))):
        size = render.CELL if ink >= LEGIBLE else rng.randint(15, 18)
        x, y = (at * render.CELL + rng.randint(0, render.CELL - size) for at in (cell % 3, cell // 3))
        digit = rng.randrange(10)
        things.append(
            {
                "shape": shape,
                "colour": colour,
                "box": [x, y, x + size, y + size],
                "cell": scenes.CELLS[cell],
                "digit": digit,
                "scan": rng.choice(render.scans(split)[digit]),
            }
        )
    return sorted(things, key=lambda thing: scenes.CELLS.index(thing["cell"]))


def draw_page(facts: Facts) -> Image.Image:
    """The page at its full size."""
    sheet = sheets.Sheet(facts["side"])
    for thing in facts["things"]:
        sheet.shape(thing["shape"], render.COLOURS[thing["colour"]], thing["box"])
        if "word" in thing:
            sheet.plate(thing["word"], thing["box"], facts["ink"])
            continue
        sheet.rectangle(sheets.middle(thing["box"], facts["ink"] * 1.25), fill=sheets.PLATE)
        sheet.scan(thing["scan"], sheets.middle(thing["box"], facts["ink"]))
    return sheet.picture


def read(facts: Facts) -> str:
    return ", ".join(f"{scenes.name(thing)} {thing.get('word', thing['digit'])}" for thing in facts["things"])


def made_up(rng: random.Random, split: Split, letters: int) -> str:
    """A word of so many capitals, consonants and vowels in turn. The splits have no word in common."""
    while True:
        word = "".join(rng.choice((_CONSONANTS, _VOWELS)[place % 2]) for place in range(letters))
        if (zlib.crc32(word.encode()) % 5 == 0) == (split == "test"):
            return word


def _facts(
    rng: random.Random,
    split: Split,
    low: int = 2,
    high: int = 5,
    side: int = SIDE,
    inks: Sequence[float] = (3.2,),
) -> Facts:
    kinds = rng.sample(scenes.KINDS, rng.randint(low, high))
    ink = rng.choice(tuple(inks))
    return {"side": side, "ink": ink, "things": place(rng, split, kinds, ink)}


def _named(facts: Facts, query: Query) -> list[Thing]:
    return [thing for name in query["names"] for thing in facts["things"] if scenes.name(thing) == name]


# Tasks


def _draw_digit(rng: random.Random, split: Split, **knobs: Any) -> Any:
    facts = _facts(rng, split, **knobs)
    return facts, {"names": [scenes.name(rng.choice(facts["things"]))], "asked": "digit"}


def _solve_digits(facts: Facts, query: Query) -> Solution:
    values = [thing["digit"] for thing in _named(facts, query)]
    thought = ", ".join(f"{name} {value}" for name, value in zip(query["names"], values))
    return Solution(str(sum(values)), thought, [str(k) for k in range(10)] if len(values) == 1 else ())


def _draw_sum(rng: random.Random, split: Split, terms: int = 2, **knobs: Any) -> Any:
    facts = _facts(rng, split, **{"low": max(2, terms), **knobs})
    chosen = rng.sample(facts["things"], min(terms, len(facts["things"])))
    return facts, {"names": [scenes.name(thing) for thing in chosen], "asked": "sum"}


def _draw_colour(rng: random.Random, split: Split, **knobs: Any) -> Any:
    """The colour of the one shape of its kind: plain to see in the view."""
    facts = _facts(rng, split, **knobs)
    shapes = [thing["shape"] for thing in facts["things"]]
    single = [shape for shape in shapes if shapes.count(shape) == 1]
    if not single:
        shape = shapes[0]
        facts["things"] = [t for i, t in enumerate(facts["things"]) if i == 0 or t["shape"] != shape]
        single = [shape]
    return facts, {"names": [], "asked": "colour", "shape": rng.choice(single)}


def _solve_colour(facts: Facts, query: Query) -> Solution:
    (thing,) = (thing for thing in facts["things"] if thing["shape"] == query["shape"])
    return Solution(thing["colour"], scenes.name(thing), scenes.COLOURS)


def _draw_mixed(rng: random.Random, split: Split, fine: float = 0.5, **knobs: Any) -> Any:
    """Questions that need a closer look (`fine` of them) among questions that do not."""
    return (_draw_digit if rng.random() < fine else _draw_colour)(rng, split, **knobs)


def _draw_find(rng: random.Random, split: Split, **knobs: Any) -> Any:
    """Which shape holds a digit that no other holds: shape after shape must be looked at."""
    facts = _facts(rng, split, **{"low": 2, "high": 4, **knobs})
    digits = rng.sample(range(10), len(facts["things"]))
    for thing, digit in zip(facts["things"], digits):
        thing |= {"digit": digit, "scan": rng.choice(render.scans(split)[digit])}
    return facts, {
        "names": [scenes.name(thing) for thing in facts["things"]],
        "asked": "find",
        "digit": rng.choice(digits),
    }


def _solve_find(facts: Facts, query: Query) -> Solution:
    (thing,) = (thing for thing in facts["things"] if thing["digit"] == query["digit"])
    return Solution(scenes.name(thing), read(facts), query["names"])


def _draw_word(rng: random.Random, split: Split, letters: int = 3, **knobs: Any) -> Any:
    if letters < 2:
        raise ValueError(f"A word has at least 2 letters, not {letters}.")
    facts = _facts(rng, split, **knobs)
    words: set[str] = set()
    for thing in facts["things"]:
        while (word := made_up(rng, split, letters)) in words:
            pass
        words.add(word)
        thing |= {"word": word}
    return facts, {"names": [scenes.name(rng.choice(facts["things"]))], "asked": "word"}


def _solve_word(facts: Facts, query: Query) -> Solution:
    (thing,) = _named(facts, query)
    return Solution(thing["word"], f"{query['names'][0]} {thing['word']}", [t["word"] for t in facts["things"]])


def _ask(query: Query) -> str:
    if query["asked"] == "word":
        return f"Which word is in the {query['names'][0]}?"
    if query["asked"] == "colour":
        return f"What colour is the {query['shape']}?"
    if query["asked"] == "find":
        return f"Which shape has the {query['digit']}?"
    if query["asked"] == "sum":
        return f"Sum of the digits of {' and '.join(query['names'])}?"
    return f"Which digit is in the {query['names'][0]}?"


def _solve_mixed(facts: Facts, query: Query) -> Solution:
    return _solve_colour(facts, query) if query["asked"] == "colour" else _solve_digits(facts, query)


def _with_evidence(row: Prompt) -> Prompt:
    facts, query = row.columns["facts"], row.columns["query"]
    boxes = [thing["box"] for thing in _named(facts, query)]
    need = bool(boxes) and facts["ink"] < LEGIBLE
    return replace(row, columns={**row.columns, "evidence": boxes, "need": need, "ink": facts["ink"]})


def _media(facts: Facts) -> list[Part]:
    return [image(draw_page(facts))]


def _task(draw: Callable[..., Any], solve: Callable[[Facts, Query], Solution], constant: Sequence[str]) -> Task:
    return Task(draw, _ask, solve, _media, read, constant)


_DIGITS = [str(k) for k in range(10)]
_TASKS: dict[str, Task] = {
    "digit": _task(_draw_digit, _solve_digits, _DIGITS),
    "sum": _task(_draw_sum, _solve_digits, [str(k) for k in range(19)]),
    "colour": _task(_draw_colour, _solve_colour, scenes.COLOURS),
    "mixed": _task(_draw_mixed, _solve_mixed, [*_DIGITS, *scenes.COLOURS]),
    "word": _task(_draw_word, _solve_word, ()),
    "find": _task(_draw_find, _solve_find, [f"{colour} {shape}" for colour, shape in scenes.KINDS]),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("pages", _TASKS, _with_evidence)
rows, demonstrate, answers = _OFFERED.rows, _OFFERED.demonstrate, _OFFERED.answers
