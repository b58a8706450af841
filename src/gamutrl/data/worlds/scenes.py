"""Coloured shapes on a canvas, with an exact scene graph.

Knobs of most tasks: `low`, `high` (how many shapes), `overlap` (anywhere, instead of a cell each); of all: `form` and
`boxes` (see `forms`). Each task's further knobs are the keyword arguments of its `_draw_…`. A shape is a dict: shape,
colour, box, cell.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from gamutrl.core import Part, Prompt, image
from gamutrl.data.worlds import base, render, turns
from gamutrl.data.worlds.base import Query, Solution, Split, Task

STYLES = base.STYLES
CELLS = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
COLOURS = tuple(render.COLOURS)
SHAPES = render.SHAPES
LETTERS = "ABCD"
USUAL = {"circle": "red", "square": "blue", "triangle": "green", "cross": "yellow"}
"""The colour that a shape has where a question may be guessed (the knob `guessable`)."""

Thing = dict[str, Any]
Kind = tuple[str, str]
KINDS: tuple[Kind, ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)


def plan_turns(row: Prompt, error_rate: float = 0.0, seed: int = 0) -> turns.Plan:
    """What to look at, one after the other: the shapes that the question is about; then the answer."""
    columns = row.columns
    solution = _TASKS[columns["task"]].solve(columns["facts"], columns["query"])
    rng = random.Random(f"{row.id}/turns/{seed}")
    answer = base.wrong_answer(solution, rng) if rng.random() < error_rate else solution.answer
    about = asked_about(columns["facts"], columns["query"])
    return turns.Plan([turns.Look(name(thing), {"box": thing["box"]}) for thing in about], solution.thought, answer)


def asked_about(things: Sequence[Thing], query: Query) -> list[Thing]:
    """The shapes that a question about one canvas is about."""
    if "second" in query:
        names = (query["first"], query["second"])
        return [thing for part in names for thing in things if part in (name(thing), thing["colour"], thing["shape"])]
    return [thing for thing in things if matches(thing, query.get("statement", query))]


def answer_to(task: str, facts: Any, query: Query) -> tuple[str, str]:
    """A plain question about these facts, and its answer."""
    chosen = base.find_task("scenes", _TASKS, task)
    return chosen.ask(query), chosen.solve(facts, query).written()


# What is on a canvas


def name(thing: Thing) -> str:
    return f"{thing['colour']} {thing['shape']}"


def place(rng: random.Random, kinds: Sequence[Kind], overlap: bool = False) -> list[Thing]:
    """Shapes of these kinds at random places, in reading order."""
    things = []
    cells = rng.sample(range(9), len(kinds)) if not overlap else [0] * len(kinds)
    for (colour, shape), cell in zip(kinds, cells):
        size = rng.randint(10, 18)
        if overlap:
            x, y = rng.randint(0, render.SIZE - size), rng.randint(0, render.SIZE - size)
            cell = min(2, (y + size // 2) * 3 // render.SIZE) * 3 + min(2, (x + size // 2) * 3 // render.SIZE)
        else:
            x, y = (at * render.CELL + rng.randint(0, render.CELL - size) for at in (cell % 3, cell // 3))
        things.append({"shape": shape, "colour": colour, "box": [x, y, x + size, y + size], "cell": CELLS[cell]})
    return sorted(things, key=lambda thing: (CELLS.index(thing["cell"]), thing["box"]))


def draw_canvas(things: Sequence[Thing], shade: int = 24) -> render.Canvas:
    """The canvas that shows these shapes."""
    canvas = render.blank((shade, shade, shade))
    for thing in things:
        x1, y1, x2, _ = thing["box"]
        render.paint(canvas, render.shape_stamp(thing["shape"], x2 - x1), render.COLOURS[thing["colour"]], x1, y1)
    return canvas


def matches(thing: Thing | Kind, query: Query) -> bool:
    """Whether a shape, or a kind, is what a query's `colour` and `shape` ask for (None asks for any)."""
    colour, shape = (thing["colour"], thing["shape"]) if isinstance(thing, dict) else thing
    return query["colour"] in (None, colour) and query["shape"] in (None, shape)


def phrase(query: Query, plural: bool = False) -> str:
    noun = query["shape"] or "object"
    ending = "" if not plural else "es" if noun == "cross" else "s"
    return f"{query['colour']} {noun}{ending}" if query["colour"] else f"{noun}{ending}"


def read(things: Sequence[Thing]) -> str:
    """The names of all shapes, in reading order."""
    return ", ".join(name(thing) for thing in things)


def caption(things: Sequence[Thing]) -> str:
    """Every shape with its cell."""
    return ", ".join(f"{name(thing)} {thing['cell']}" for thing in things)


def _filter(rng: random.Random) -> Query:
    which = rng.randrange(3)
    return {"colour": None if which == 1 else rng.choice(COLOURS), "shape": None if which == 0 else rng.choice(SHAPES)}


def _kinds(rng: random.Random, query: Query, matching: int, others: int) -> list[Kind]:
    """`matching` kinds that a query asks for, `others` that it does not."""
    yes = [kind for kind in KINDS if matches(kind, query)]
    no = [kind for kind in KINDS if not matches(kind, query)]
    return rng.choices(yes, k=matching) + rng.choices(no, k=others)


def more_questions(rng: random.Random, things: Sequence[Thing]) -> list[tuple[str, Query]]:
    """Tasks and queries that any canvas of shapes can answer: dense practice on one picture."""
    asked: list[tuple[str, Query]] = [("read", {}), ("caption", {}), ("everything", {"colour": None, "shape": None})]
    asked += [("count", _filter(rng)), ("statement", {"statement": _statement(rng, list(things), rng.random() < 0.5)})]
    for thing in things:
        for query in (
            {"colour": thing["colour"], "shape": thing["shape"]},
            {"colour": thing["colour"], "shape": None},
            {"colour": None, "shape": thing["shape"]},
        ):
            if sum(matches(other, query) for other in things) == 1:
                asked += [("locate", query), ("point", query)]
    return asked


def varied_questions(rng: random.Random, things: Sequence[Thing]) -> list[tuple[str, Query]]:
    """One question of each kind that this canvas can answer."""
    things = list(things)

    def shown() -> Query:
        """A filter that fits something, more often than not."""
        query = _filter(rng)
        if things and rng.random() < 0.7:
            thing = rng.choice(things)
            query = {key: value and thing[key] for key, value in query.items()}
        return query

    asked: list[tuple[str, Query]] = [("read", {}), ("caption", {}), ("everything", {"colour": None, "shape": None})]
    asked += [("count", shown()), ("detect", shown())]
    asked.append(("statement", {"statement": _statement(rng, things, rng.random() < 0.5)}))
    key, values = rng.choice((("colour", COLOURS), ("shape", SHAPES)))
    seen = sorted({thing[key] for thing in things})
    first = rng.choice(seen or values)
    second = rng.choice([value for value in (seen if len(seen) > 1 else values) if value != first])
    asked.append(("compare", {"key": key, "first": first, "second": second}))
    single = [
        query
        for thing in things
        for query in ({"colour": thing["colour"], "shape": None}, {"colour": None, "shape": thing["shape"]})
        if sum(matches(other, query) for other in things) == 1
    ]
    if single:
        asked += [("locate", rng.choice(single)), ("point", rng.choice(single))]
        query = rng.choice(single)
        asked.append(("attribute", {"asked": "shape" if query["colour"] else "colour", **query}))
    names = [name(thing) for thing in things]
    alone = [thing for thing in things if names.count(name(thing)) == 1]
    pairs = [(a, b) for a in alone for b in alone if a is not b and _direction(a, b)]
    if pairs:
        a, b = rng.choice(pairs)
        asked.append(("relation", {"first": name(a), "second": name(b)}))
    return asked


# Tasks


def _draw_any(rng: random.Random, split: Split, low: int = 2, high: int = 6, overlap: bool = False) -> Any:
    return place(rng, rng.choices(KINDS, k=rng.randint(low, high)), overlap), {}


def _solve_read(things: list[Thing], query: Query) -> Solution:
    return Solution(read(things), caption(things))


def _solve_caption(things: list[Thing], query: Query) -> Solution:
    return Solution(caption(things))


def _draw_count(
    rng: random.Random, split: Split, low: int = 3, high: int = 7, most: int = 4, overlap: bool = False
) -> Any:
    """Counts 0 to `most`, equally often."""
    query = _filter(rng)
    count = rng.randint(0, most)
    others = rng.randint(max(0, low - count), max(0, high - count))
    return place(rng, _kinds(rng, query, count, min(others, 9 - count)), overlap), query


def _solve_count(things: list[Thing], query: Query) -> Solution:
    found = [name(thing) for thing in things if matches(thing, query)]
    return Solution(str(len(found)), f"{', '.join(found) or 'none'}: {len(found)}", [str(k) for k in range(5)])


def _draw_attribute(
    rng: random.Random,
    split: Split,
    low: int = 2,
    high: int = 5,
    guessable: float = 0.0,
    misleading: float | None = None,
) -> Any:
    """The colour of the one shape of its kind, or the shape of the one of its colour.

    guessable: how often only colours are asked and the shape has its usual one (`USUAL`). misleading: how often the
    claim that then stands in the question is wrong (None: no claim).
    """
    usual = rng.random() < guessable
    asked = "colour" if guessable or rng.random() < 0.6 else "shape"
    colour, shape = rng.choice(KINDS)
    if usual:
        colour = USUAL[shape]
    query: Query = {"asked": asked, "colour": None, "shape": None}
    query["shape" if asked == "colour" else "colour"] = shape if asked == "colour" else colour
    others = _kinds(rng, query, 0, rng.randint(low, high) - 1)
    if misleading is not None:
        values = COLOURS if asked == "colour" else SHAPES
        right = colour if asked == "colour" else shape
        lie = rng.random() < misleading
        query["claim"] = rng.choice([value for value in values if value != right]) if lie else right
    return place(rng, [(colour, shape), *others]), query


def _ask_attribute(query: Query) -> str:
    question = f"What {query['asked']} is the {phrase(query)}?"
    return f"{question} I think {query['claim']}." if "claim" in query else question


def _solve_attribute(things: list[Thing], query: Query) -> Solution:
    thing = next(thing for thing in things if matches(thing, query))
    choices = COLOURS if query["asked"] == "colour" else SHAPES
    return Solution(thing[query["asked"]], f"{thing['cell']}: {name(thing)}", choices)


def _draw_relation(rng: random.Random, split: Split, low: int = 2, high: int = 5) -> Any:
    """Two shapes apart in one direction; the four directions equally often."""
    a, b = rng.sample(KINDS, 2)
    others = [kind for kind in rng.choices(KINDS, k=rng.randint(low, high) - 2) if kind not in (a, b)]
    wanted = rng.choice(("left", "right", "above", "below"))
    while True:
        things = place(rng, [a, b, *others])
        first, second = (next(t for t in things if (t["colour"], t["shape"]) == kind) for kind in (a, b))
        if _direction(first, second) == wanted:
            return things, {"first": name(first), "second": name(second)}


def _direction(first: Thing, second: Thing) -> str | None:
    """Where the first lies from the second, where that is beyond doubt: in the same row or column of cells."""
    (row, column), (other_row, other_column) = (divmod(CELLS.index(thing["cell"]), 3) for thing in (first, second))
    if row == other_row:
        return "left" if column < other_column else "right"
    if column == other_column:
        return "above" if row < other_row else "below"
    return None


def _solve_relation(things: list[Thing], query: Query) -> Solution:
    first, second = (next(t for t in things if name(t) == query[key]) for key in ("first", "second"))
    thought = f"{name(first)} {first['cell']}, {name(second)} {second['cell']}"
    return Solution(str(_direction(first, second)), thought, ("left", "right", "above", "below"))


def _draw_compare(rng: random.Random, split: Split, most: int = 3, others: int = 2) -> Any:
    """Two colours or two shapes; more, fewer and equal equally often."""
    key, values = rng.choice((("colour", COLOURS), ("shape", SHAPES)))
    first, second = rng.sample(values, 2)
    outcome = rng.choice((first, second, "equal"))
    if outcome == "equal":
        a = b = rng.randint(1, most)
    else:
        b, a = sorted(rng.sample(range(most + 1), 2))
        a, b = (a, b) if outcome == first else (b, a)
    free = [kind for kind in KINDS if not {first, second} & set(kind)]
    own = [
        rng.choice([kind for kind in KINDS if value in kind])
        for value, k in ((first, a), (second, b))
        for _ in range(k)
    ]
    query = {"key": key, "first": first, "second": second}
    return place(rng, own + rng.choices(free, k=rng.randint(0, others))), query


def _solve_compare(things: list[Thing], query: Query) -> Solution:
    a, b = (sum(thing[query["key"]] == query[which] for thing in things) for which in ("first", "second"))
    answer = "equal" if a == b else query["first"] if a > b else query["second"]
    return Solution(answer, f"{query['first']} {a}, {query['second']} {b}", (query["first"], query["second"], "equal"))


def _draw_statement(rng: random.Random, split: Split, low: int = 2, high: int = 6) -> Any:
    """True and false equally often, about what there is, how many, or where."""
    things, _ = _draw_any(rng, split, low, high)
    return things, {"statement": _statement(rng, things, rng.random() < 0.5)}


def _statement(rng: random.Random, things: list[Thing], truth: bool) -> dict[str, Any]:
    while True:
        kind = rng.choice(("there", "count", "where") if things else ("there", "count"))
        query = _filter(rng)
        if kind == "count":
            query["count"] = rng.randint(1, 3)
        elif kind == "where":
            if truth:
                thing = rng.choice(things)
                query = {"colour": thing["colour"], "shape": thing["shape"], "cell": thing["cell"]}
            else:
                query["cell"] = rng.choice(CELLS)
        query["kind"] = kind
        if _holds(things, query) == truth:
            return query


def _holds(things: list[Thing], statement: Query) -> bool:
    found = [thing for thing in things if matches(thing, statement)]
    if statement["kind"] == "count":
        return len(found) == statement["count"]
    return any(statement["kind"] == "there" or thing["cell"] == statement["cell"] for thing in found)


def _say(statement: Query) -> str:
    if statement["kind"] == "count":
        count = statement["count"]
        return f"There {'is' if count == 1 else 'are'} {count} {phrase(statement, plural=count != 1)}."
    where = f" {statement['cell']}" if statement["kind"] == "where" else ""
    return f"There is a {phrase(statement)}{where}."


def _solve_statement(things: list[Thing], query: Query) -> Solution:
    statement = query["statement"]
    found = ", ".join(f"{name(t)} {t['cell']}" for t in things if matches(t, statement))
    return Solution("true" if _holds(things, statement) else "false", found or "none", ("true", "false"))


def _draw_locate(
    rng: random.Random, split: Split, low: int = 2, high: int = 6, absent: float = 0.0, overlap: bool = False
) -> Any:
    """The one shape that a phrase fits. absent: how often there is none."""
    query = _filter(rng)
    there = int(rng.random() >= absent)
    return place(rng, _kinds(rng, query, there, rng.randint(low, high) - 1), overlap), query


def _draw_detect(
    rng: random.Random,
    split: Split,
    low: int = 2,
    high: int = 6,
    absent: float = 0.25,
    most: int = 3,
    overlap: bool = False,
) -> Any:
    """All shapes that a phrase fits: 1 to `most`, or none (as often as `absent` says)."""
    query = _filter(rng)
    count = 0 if rng.random() < absent else rng.randint(1, most)
    others = rng.randint(max(0, low - count), max(0, high - count))
    return place(rng, _kinds(rng, query, count, others), overlap), query


def _draw_everything(rng: random.Random, split: Split, low: int = 2, high: int = 6, overlap: bool = False) -> Any:
    things, _ = _draw_any(rng, split, low, high, overlap)
    return things, {"colour": None, "shape": None}


def _solve_boxes(things: list[Thing], query: Query, single: bool) -> Solution:
    found = [thing for thing in things if matches(thing, query)]
    thought = ", ".join(f"{name(t)} {t['cell']}" for t in found) or "none"
    return Solution("", thought, boxes=[t["box"] for t in found], labels=[name(t) for t in found], single=single)


def _solve_point(things: list[Thing], query: Query) -> Solution:
    thing = next(thing for thing in things if matches(thing, query))
    x1, y1, x2, y2 = thing["box"]
    return Solution(f"[{(x1 + x2) // 2}, {(y1 + y2) // 2}]", f"{name(thing)} {thing['cell']}")


def _draw_images(rng: random.Random, split: Split, images: int = 3, low: int = 1, high: int = 4) -> Any:
    """Several canvases; one of them holds what is asked for, each equally often."""
    query = _filter(rng)
    right = rng.randrange(images)
    facts = [
        place(rng, _kinds(rng, query, int(i == right), rng.randint(low, high) - int(i == right))) for i in range(images)
    ]
    return facts, query


def _solve_images(facts: list[list[Thing]], query: Query) -> Solution:
    holds = [any(matches(thing, query) for thing in things) for things in facts]
    thought = ". ".join(f"{i + 1}: {read(things)}" for i, things in enumerate(facts))
    return Solution(str(holds.index(True) + 1), thought, [str(i + 1) for i in range(len(facts))])


def _draw_options(rng: random.Random, split: Split, options: int = 4, **knobs: Any) -> Any:
    """An attribute question with lettered options, the right letter equally often; takes `attribute`'s knobs too.

    A guess (`guessable`) or a claim (`misleading`) is always among the options.
    """
    things, query = _draw_attribute(rng, split, **knobs)
    solution = _solve_attribute(things, query)
    tempting = [query.get("claim"), USUAL[query["shape"]] if query["asked"] == "colour" else None]
    wrong = list(dict.fromkeys(value for value in tempting if value and value != solution.answer))
    rest = [value for value in solution.choices if value != solution.answer and value not in wrong]
    wrong = (wrong + rng.sample(rest, len(rest)))[: options - 1]
    texts = [solution.answer, *wrong]
    rng.shuffle(texts)
    return things, query | {"options": texts}


def _ask_options(query: Query) -> str:
    return f"{_ask_attribute(query)} {lettered(query['options'])}"


def lettered(options: Sequence[str]) -> str:
    return " ".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options))


def _solve_options(things: list[Thing], query: Query) -> Solution:
    solution = _solve_attribute(things, query)
    letters = LETTERS[: len(query["options"])]
    return Solution(letters[query["options"].index(solution.answer)], solution.thought, letters)


def _draw_arithmetic(rng: random.Random, split: Split, steps: int | None = None, low: int = 3, high: int = 6) -> Any:
    """Counts of `steps` different groups, added (None: one to four steps, so that difficulty is spread)."""
    things, _ = _draw_any(rng, split, low, high)
    groups = [(value, None) for value in COLOURS] + [(None, value) for value in SHAPES]
    chosen = rng.sample(groups, steps or rng.randint(1, 4))
    return things, {"groups": [{"colour": colour, "shape": shape} for colour, shape in chosen]}


def _solve_arithmetic(things: list[Thing], query: Query) -> Solution:
    counts = [sum(matches(thing, group) for thing in things) for group in query["groups"]]
    parts = ", ".join(f"{group['colour'] or group['shape']} {count}" for group, count in zip(query["groups"], counts))
    return Solution(str(sum(counts)), f"{parts}: {sum(counts)}")


def place_numbers(rng: random.Random, signs: int, limit: int) -> list[Thing]:
    """Printed numbers below `limit` in different colours, at most one a cell, in reading order."""
    placed = []
    for colour, cell in zip(rng.sample(COLOURS, signs), sorted(rng.sample(range(9), signs))):
        number = rng.randrange(limit)
        width = render.number_stamp(number).shape[1]
        x = cell % 3 * render.CELL + rng.randint(0, render.CELL - width)
        y = cell // 3 * render.CELL + rng.randint(0, render.CELL - 15)
        placed.append({"number": number, "colour": colour, "box": [x, y, x + width, y + 15]})
    return placed


def _draw_numbers(rng: random.Random, split: Split, signs: int = 3, limit: int = 20, steps: int = 2) -> Any:
    """Printed numbers, of which `steps` are to be added."""
    facts = place_numbers(rng, signs, limit)
    return facts, {"colours": rng.sample([sign["colour"] for sign in facts], min(steps, signs))}


def _ask_numbers(query: Query) -> str:
    return (
        f"{' + '.join(query['colours'])} = ?"
        if len(query["colours"]) > 1
        else f"Which number is {query['colours'][0]}?"
    )


def _solve_numbers(facts: list[Thing], query: Query) -> Solution:
    value = {sign["colour"]: sign["number"] for sign in facts}
    terms = [value[colour] for colour in query["colours"]]
    return Solution(str(sum(terms)), f"{' + '.join(map(str, terms))} = {sum(terms)}")


def read_numbers(facts: Sequence[Thing]) -> str:
    return ", ".join(f"{sign['colour']} {sign['number']}" for sign in facts)


def draw_numbers(facts: Sequence[Thing]) -> render.Canvas:
    canvas = render.blank((24, 24, 24))
    for sign in facts:
        stamp = render.number_stamp(sign["number"])
        render.paint(canvas, stamp, render.COLOURS[sign["colour"]], sign["box"][0], sign["box"][1])
    return canvas


def _media(things: Sequence[Thing]) -> list[Part]:
    return [image(render.picture(draw_canvas(things)))]


def _still(
    draw: Callable[..., Any], ask: Callable[[Query], str], solve: Any, constant: Sequence[str | Solution] = ()
) -> Task:
    return Task(draw, ask, solve, _media, caption, constant)


_NUMBERS = [str(k) for k in range(10)]
_CENTRE = [[0, 0, 72, 72], [18, 18, 54, 54]]
_BOXES = [Solution(boxes=[box], single=True) for box in _CENTRE]
_NOWHERE = [Solution(boxes=[])]

_TASKS: dict[str, Task] = {
    "read": _still(_draw_any, lambda q: "List the objects.", _solve_read),
    "caption": _still(_draw_any, lambda q: "Describe.", _solve_caption),
    "count": _still(_draw_count, lambda q: f"How many {phrase(q, plural=True)}?", _solve_count, _NUMBERS[:5]),
    "attribute": _still(_draw_attribute, _ask_attribute, _solve_attribute, (*COLOURS, *SHAPES)),
    "relation": _still(
        _draw_relation,
        lambda q: f"Where is the {q['first']} from the {q['second']}?",
        _solve_relation,
        ("left", "right", "above", "below"),
    ),
    "compare": _still(
        _draw_compare,
        lambda q: f"More {q['first']} or {q['second']}?",
        _solve_compare,
        ("equal", *COLOURS, *SHAPES),
    ),
    "statement": _still(
        _draw_statement, lambda q: f"{_say(q['statement'])} True or false?", _solve_statement, ("true", "false")
    ),
    "locate": _still(
        _draw_locate, lambda q: f"Where is the {phrase(q)}?", lambda f, q: _solve_boxes(f, q, single=True), _BOXES
    ),
    "detect": _still(
        _draw_detect,
        lambda q: f"Find all {phrase(q, plural=True)}.",
        lambda f, q: _solve_boxes(f, q, single=False),
        _NOWHERE,
    ),
    "everything": _still(
        _draw_everything, lambda q: "Find all objects.", lambda f, q: _solve_boxes(f, q, single=False)
    ),
    "point": _still(_draw_locate, lambda q: f"Point at the {phrase(q)}.", _solve_point, ("[36, 36]",)),
    "options": _still(_draw_options, _ask_options, _solve_options, tuple(LETTERS)),
    "arithmetic": _still(
        _draw_arithmetic,
        lambda q: f"Count {' + '.join(phrase(g, plural=True) for g in q['groups'])}.",
        _solve_arithmetic,
        _NUMBERS,
    ),
    "images": Task(
        _draw_images,
        lambda q: f"Which image has a {phrase(q)}?",
        _solve_images,
        lambda facts: [part for things in facts for part in _media(things)],
        lambda facts: ". ".join(read(things) for things in facts),
        ("1", "2", "3"),
    ),
    "numbers": Task(
        _draw_numbers,
        _ask_numbers,
        _solve_numbers,
        lambda facts: [image(render.picture(draw_numbers(facts)))],
        read_numbers,
        [str(k) for k in range(40)],
    ),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("scenes", _TASKS)
rows, demonstrate, answers = _OFFERED.rows, _OFFERED.demonstrate, _OFFERED.answers
