"""Collections of rendered pages, and questions whose answer stands on one of them, in small print.

A page has a title of two coloured shapes over a coloured band and a framed plate, plain to see; on the plate stands a
small handwritten digit. A line of print is for readers. A collection is known by its split, its number and its size;
the pages of the test split are in no training collection.

Knobs: `pages` (how many there are, at most 828), `collection` (which), `collections` (how many: each row asks about one
of these, from that one on), `ink` (height of the digit in the model's view),
`places` (how many places a plate may have: 1 to 3), `side` (pixels of a page), `form`. A row shows no picture: pages
come by searching. Columns beside the usual ones: `golden` (names of the pages that hold the answer), `evidence` (where
on the page).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from PIL import Image

from gamutrl.core import Part, Prompt
from gamutrl.data.worlds import base, render, scenes, sheets, turns
from gamutrl.data.worlds.base import Query, Solution, Split, Task

STYLES = base.STYLES
SIDE = 576
TITLES = ([3, 3, 21, 21], [51, 3, 69, 21])
BAND = [3, 26, 69, 32]
PLATES = ([29, 53, 43, 67], [5, 53, 19, 67], [53, 53, 67, 67])
"""Where a plate may be, in the view: each within one of its cells."""
_FRAME, _PALE = 2, (120, 120, 120)
_EVERY = tuple(itertools.product(itertools.combinations(scenes.KINDS, 2), scenes.COLOURS))
_TOPICS = ("harbour", "orchard", "railway", "library", "market", "valley", "castle", "garden", "bridge", "island")


@dataclass(frozen=True)
class Page:
    """One page: its name, the two shapes and the band of its title, the digit on it, and its print."""

    name: str
    title: tuple[scenes.Kind, scenes.Kind]
    band: str
    digit: int
    scan: int
    plate: int
    print: str
    ink: float
    side: int

    @property
    def title_text(self) -> str:
        return f"{' and '.join(f'{colour} {shape}' for colour, shape in self.title)} on {self.band}"

    @property
    def words(self) -> str:
        """What a reader of pages would read, but for the digit."""
        return f"{self.title_text}. {self.print}"

    def draw(self) -> Image.Image:
        """The page at its full size."""
        sheet = sheets.Sheet(self.side)
        for (colour, shape), box in zip(self.title, TITLES):
            sheet.shape(shape, render.COLOURS[colour], box)
        sheet.rectangle(BAND, fill=render.COLOURS[self.band])
        plate = PLATES[self.plate]
        sheet.rectangle(sheets.middle(plate, plate[2] - plate[0] + 2 * _FRAME), fill=render.WHITE)
        sheet.rectangle(plate, fill=sheets.PLATE)
        sheet.scan(self.scan, sheets.middle(plate, self.ink))
        sheet.words(self.print, (3, 38), 2.6, _PALE)
        return sheet.picture


def demonstrate_turns(
    row: Prompt,
    write: turns.Writer = turns.search_or_crop_tag,
    error_rate: float = 0.0,
    seed: int = 0,
    *,
    detour: float = 0.0,
    stray: float = 0.0,
    hasty: float = 0.0,
    form: str = "think",
) -> list[str]:
    """The assistant's turns: a search and a closer look for each page, then the answer.

    detour: how often a crop goes astray first; stray: how often a search does, to a page of which one shape is the
    same. hasty: how often nothing is cropped and the answer is guessed.
    """
    rng = random.Random(f"{row.id}/turns/{seed}")
    columns = row.columns
    solution = _TASKS[columns["task"]].solve(columns["facts"], columns["query"])
    guesses = rng.random() < hasty
    looks = []
    for page in _asked(row):
        if rng.random() < stray and (other := _like(page, collection_of(row), rng)):
            looks.append(turns.Look("find the page", {"query": other.title_text}))
        looks.append(turns.Look("find the page", {"query": page.title_text}))
        if not guesses:
            looks.append(turns.Look("read the digit", {"box": PLATES[page.plate]}))
    plan = turns.Plan(looks, solution.thought, solution.answer)
    if guesses:
        plan = turns.Plan(looks, "", rng.choice(answers(columns["task"])))
    plan = turns.clumsy(plan, rng, detour, error_rate, base.wrong_answer(solution, rng))
    return turns.written(plan, write, form)


def collection_of(prompt: Prompt) -> tuple[Page, ...]:
    """The collection that a row's question is about."""
    return collection(**prompt.columns["facts"])


def _asked(row: Prompt) -> list[Page]:
    """The pages that a row asks about."""
    there = collection_of(row)
    return [there[number] for number in row.columns["query"]["pages"]]


def _like(page: Page, pages: Sequence[Page], rng: random.Random) -> Page | None:
    """Another page with one of its shapes, if there is one."""
    others = [other for other in pages if len(set(other.title) & set(page.title)) == 1]
    return rng.choice(others) if others else None


@lru_cache(maxsize=256)
def collection(
    split: Split, number: int = 0, pages: int = 240, ink: float = 3.2, side: int = SIDE, places: int = 3
) -> tuple[Page, ...]:
    """The pages of a collection, in order of their names. Half of all titles are for each split."""
    titles = [title for i, title in enumerate(_EVERY) if (i % 2 == 1) == (split == "test")]
    if not 1 <= pages <= len(titles):
        raise ValueError(f"A collection has from 1 to {len(titles)} pages, not {pages}.")
    if not 1 <= places <= len(PLATES):
        raise ValueError(f"A plate has from 1 to {len(PLATES)} places, not {places}.")
    rng = random.Random(f"library/{split}/{number}/{pages}")
    made = []
    for i, (title, band) in enumerate(rng.sample(titles, pages)):
        digit = rng.randrange(10)
        words = f"{rng.choice(_TOPICS)} and {rng.choice(_TOPICS)}, no. {rng.randint(100, 999)}"
        scan = rng.choice(render.scans(split)[digit])
        plate = rng.randrange(places)
        made.append(Page(f"page_{i:03d}", title, band, digit, scan, plate, words, ink, side))
    return tuple(made)


def _draw(
    rng: random.Random,
    split: Split,
    terms: int = 1,
    pages: int = 240,
    collection: int = 0,
    collections: int = 1,
    ink: float = 3.2,
    places: int = 3,
    side: int = SIDE,
) -> Any:
    number = collection + rng.randrange(collections)
    facts = {"split": split, "number": number, "pages": pages, "ink": ink, "places": places, "side": side}
    there = _collection(facts)
    chosen = sorted(rng.sample(range(pages), terms))
    return facts, {"pages": chosen, "titles": [there[number].title_text for number in chosen]}


def _draw_sum(rng: random.Random, split: Split, **knobs: Any) -> Any:
    return _draw(rng, split, terms=2, **knobs)


def _collection(facts: dict[str, Any]) -> tuple[Page, ...]:
    return collection(**facts)


def _solve(facts: dict[str, Any], query: Query) -> Solution:
    digits = [_collection(facts)[number].digit for number in query["pages"]]
    choices = [str(k) for k in range(10)] if len(digits) == 1 else ()
    return Solution(str(sum(digits)), ", ".join(f"{t} {d}" for t, d in zip(query["titles"], digits)), choices)


def _media(facts: dict[str, Any]) -> list[Part]:
    return []


def caption(facts: dict[str, Any]) -> str:
    return f"{facts['pages']} pages"


def _with_evidence(row: Prompt) -> Prompt:
    asked = _asked(row)
    golden, evidence = [page.name for page in asked], [PLATES[page.plate] for page in asked]
    return replace(row, columns={**row.columns, "golden": golden, "evidence": evidence})


_TASKS: dict[str, Task] = {
    "digit": Task(
        _draw,
        lambda q: f"Which digit is on the page of {q['titles'][0]}?",
        _solve,
        _media,
        caption,
        [str(k) for k in range(10)],
    ),
    "sum": Task(
        _draw_sum,
        lambda q: f"Sum of the digits on the pages of {' and of '.join(q['titles'])}?",
        _solve,
        _media,
        caption,
        [str(k) for k in range(19)],
    ),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("library", _TASKS, _with_evidence)
rows, demonstrate, answers = _OFFERED.rows, _OFFERED.demonstrate, _OFFERED.answers
