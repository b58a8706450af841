"""Charts drawn from tables: coloured bars or a line over ticks, with print too small for the model's view.

The bars' colours and rough heights are plain to see; exact values stand over the marks in small print (`printed`), and
on the axis. Knobs: `kind` ("bar", "line", or "any"), `marks` (how many), `high` (the largest value), `side` (pixels),
`printed`, `form`. The layout is known exactly, so tools that read print, find a tick or cut out a panel need no model:
`words_on`, `place_of`, `panels_of`, `table_of`. `reports` are what nine chart readers of unequal worth say of a chart
(VisTA, arXiv 2505.20289), `answer_from` is a reasoner that answers from such a report.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from gamutrl.core import Message, Part, Prompt, image
from gamutrl.data.worlds import base, render, scenes, sheets, turns
from gamutrl.data.worlds.base import Query, Solution, Split, Task

STYLES = base.STYLES
SIDE = 576
KINDS = ("bar", "line")
LEFT, RIGHT, TOP, BOTTOM = 9.0, 69.0, 8.0, 62.0
"""The plot's edges in the view."""

Facts = dict[str, Any]
_GREY = (140, 140, 140)


def demonstrate_turns(
    row: Prompt,
    write: turns.Writer = turns.zoom_call,
    error_rate: float = 0.0,
    seed: int = 0,
    *,
    detour: float = 0.0,
    hasty: float = 0.0,
    tools: Sequence[str] = ("Point",),
    form: str = "think",
) -> list[str]:
    """The assistant's turns: a closer look at each mark that the question names, then the answer.

    hasty: how often it answers at once, from the rough heights. tools: what the marks of a chart are looked at with,
    for a notation that names its tools; one of these, each as likely.
    """
    rng = random.Random(f"{row.id}/turns/{seed}")
    facts, query = row.columns["facts"], row.columns["query"]
    solution = _TASKS[row.columns["task"]].solve(facts, query)
    names, tool = query.get("names") or facts["names"], rng.choice(tools)
    looks = [
        turns.Look(
            f"read {name}",
            {
                "box": mark_box(facts, name),
                "name": name,
                "point": top_of(facts, name),
                "tool": tool,
                "arguments": {"param": name},
            },
        )
        for name in names
    ]
    plan = turns.Plan(looks, solution.thought, solution.answer)
    if rng.random() < hasty:
        plan = turns.Plan((), "", solution.answer)
    plan = turns.clumsy(plan, rng, detour, error_rate, base.wrong_answer(solution, rng))
    return turns.written(plan, write, form)


# What is on a chart


def top_of(facts: Facts, name: str) -> list[float]:
    """Where the top of a mark is, in the view."""
    i = facts["names"].index(name)
    step = (RIGHT - LEFT) / len(facts["names"])
    height = (BOTTOM - TOP) * facts["values"][i] / facts["high"]
    return [LEFT + step * (i + 0.5), BOTTOM - height]


def mark_box(facts: Facts, name: str) -> list[int]:
    """A box around the top of a mark with its print, in whole pixels of the view, that fits in it."""
    x, y = top_of(facts, name)
    left = min(max(0, round(x - 6)), render.SIZE - 12)
    low = min(max(0, round(y - 8)), render.SIZE - 12)
    return [left, low, left + 12, low + 12]


def draw_chart(facts: Facts) -> Image.Image:
    """The chart at its full size."""
    sheet = sheets.Sheet(facts["side"])
    sheet.line([(LEFT, TOP - 4), (LEFT, BOTTOM), (RIGHT, BOTTOM)], _GREY, 0.5)
    for _, text, (x, y) in _ticks(facts):
        sheet.words(text, (x, y), 2.4, _GREY)
    tops = [top_of(facts, name) for name in facts["names"]]
    width = (RIGHT - LEFT) / len(tops) * 0.3
    if facts["kind"] == "line":
        sheet.line(tops, _GREY, 0.7)
    for name, (x, y), value in zip(facts["names"], tops, facts["values"]):
        colour = render.COLOURS[name]
        if facts["kind"] == "bar":
            sheet.rectangle([x - width, y, x + width, BOTTOM], fill=colour)
        else:
            sheet.shape("circle", colour, [x - 2.5, y - 2.5, x + 2.5, y + 2.5])
        if facts["printed"]:
            sheet.number(value, (x - 0.8, y - (3.5 if facts["kind"] == "bar" else 6)), 2.6, colour)
    return sheet.picture


def _ticks(facts: Facts) -> list[tuple[str, str, tuple[float, float]]]:
    """`(axis, text, place of the text)` of every tick."""
    found: list[tuple[str, str, tuple[float, float]]] = []
    for value in range(facts["high"] + 1):
        y = BOTTOM - (BOTTOM - TOP) * value / facts["high"]
        found.append(("y", str(value), (LEFT - 4, y - 1.5)))
    step = (RIGHT - LEFT) / len(facts["names"])
    for i, name in enumerate(facts["names"]):
        found.append(("x", name, (LEFT + step * (i + 0.5) - 3, BOTTOM + 2)))
    return found


# Oracles: what a tool that reads charts would find


def words_on(prompt: Prompt) -> list[tuple[str, list[float]]]:
    """The print on a row's chart, each with its place in the view."""
    facts = prompt.columns["facts"]
    found = [(text, list(place)) for _, text, place in _ticks(facts)]
    if facts["printed"]:
        found += [(str(value), top_of(facts, name)) for name, value in zip(facts["names"], facts["values"])]
    return found


def place_of(prompt: Prompt, description: str) -> list[float] | None:
    """Where what a description names is (a colour's mark, or a tick of the vertical axis), in the view."""
    facts = prompt.columns["facts"]
    said = description.lower()
    name = next((name for name in facts["names"] if name in said), None)
    if name is not None:
        return top_of(facts, name)
    number = re.search(r"\d{1,3}", said)
    if number is None or int(number[0]) > facts["high"]:
        return None
    return [LEFT, BOTTOM - (BOTTOM - TOP) * int(number[0]) / facts["high"]]


def panels_of(prompt: Prompt) -> dict[str, list[float]]:
    """The parts of a row's chart by title, as boxes of the view."""
    facts = prompt.columns["facts"]
    parts: dict[str, list[float]] = {name: [float(side) for side in mark_box(facts, name)] for name in facts["names"]}
    return parts | {"axis": [0.0, TOP - 4, LEFT + 6, BOTTOM + 4]}


def table_of(prompt: Prompt) -> dict[str, int]:
    """The table that a row's chart is drawn from."""
    facts = prompt.columns["facts"]
    return dict(zip(facts["names"], facts["values"]))


RELIABLE: dict[str, tuple[float, ...]] = {
    "bar": (0.95, 0.4, 0.1, 0.2, 0.2, 0.1, 0.0, 0.0, 0.0),
    "line": (0.3, 0.95, 0.1, 0.2, 0.2, 0.1, 0.0, 0.0, 0.0),
}
"""How often each of nine chart readers is right about a value, by kind of chart: three give tables, three layouts
without values, three descriptions."""


def reports(prompt: Prompt, noise: float = 1.0) -> list[str]:
    """What each of the nine readers says of a row's chart: the same words whenever it is asked.

    noise: 0 makes the table readers always right.
    """
    facts = prompt.columns["facts"]
    said = []
    for reader, reliable in enumerate(RELIABLE[facts["kind"]]):
        rng = random.Random(f"{prompt.id}/report/{reader}")
        table = {}
        for name, value in zip(facts["names"], facts["values"]):
            right = rng.random() < 1 - noise * (1 - reliable)
            table[name] = value if right else rng.choice([v for v in range(facts["high"] + 1) if v != value])
        if reader < 3:
            said.append(json.dumps({"table": table}))
        elif reader < 6:
            said.append(json.dumps({"kind": facts["kind"], "marks": facts["names"]}))
        else:
            said.append(f"A {facts['kind']} chart with {len(facts['names'])} marks.")
    return said


OFFERED = " Readers: 0-2 type1, 3-5 type2, 6-8 type3. Which ones? Reply <answer></answer>."
"""What follows a question whose readers are to be chosen: their numbers, and no word on what they are good at."""


def choose_readers(prompt: Prompt, error_rate: float = 0.8, seed: int = 0) -> str:
    """A choice of readers as VisTA writes it: the best for this kind of chart, or with probability `error_rate` any one
    to three."""
    rng = random.Random(f"{prompt.id}/readers/{seed}")
    worth = RELIABLE[prompt.columns["facts"]["kind"]]
    chosen = [worth.index(max(worth))]
    if rng.random() < error_rate:
        chosen = rng.sample(range(len(worth)), rng.choice((1, 1, 2, 3)))
    return f"<answer>{', '.join(map(str, chosen))}</answer>"


def answer_from(conversations: Sequence[Sequence[Message]]) -> list[str]:
    """A frozen reasoner by rule: it answers a chart's question from the first table it is given.

    Each conversation ends with `Question: …` and, after a line break, what else is known. Without a table it guesses.
    """
    return [f"<answer>{_answer(conversation[-1].text)}</answer>" for conversation in conversations]


def _answer(asked: str) -> str:
    question, _, known = asked.rpartition("Question: ")[2].partition("\n")
    for match in re.finditer(r'\{"table": (\{[^{}]*\})\}', known):
        try:
            table = json.loads(match[1])
        except ValueError:
            continue
        names = [name for name in scenes.COLOURS if re.search(rf"\b{name}\b", question)]
        if "largest" in question:
            return max(table, key=table.get) if table else "unknown"
        if above := re.search(r"above (\d{1,3})", question):
            return str(sum(isinstance(v, int) and v > int(above[1]) for v in table.values()))
        values = [table.get(name) for name in names]
        return str(sum(values)) if values and all(isinstance(v, int) for v in values) else "unknown"
    return "5"


# Tasks


def _draw(
    rng: random.Random,
    split: Split,
    kind: str = "any",
    marks: int = 4,
    high: int = 9,
    side: int = SIDE,
    printed: bool = True,
) -> Facts:
    if kind not in (*KINDS, "any"):
        raise ValueError(f"A chart's kind is 'bar', 'line' or 'any', not {kind!r}.")
    return {
        "kind": rng.choice(KINDS) if kind == "any" else kind,
        "names": rng.sample(scenes.COLOURS, marks),
        "values": [rng.randint(0, high) for _ in range(marks)],
        "high": high,
        "side": side,
        "printed": printed,
    }


def _draw_value(rng: random.Random, split: Split, **knobs: Any) -> Any:
    facts = _draw(rng, split, **knobs)
    return facts, {"asked": "value", "names": [rng.choice(facts["names"])]}


def _draw_sum(rng: random.Random, split: Split, terms: int = 2, **knobs: Any) -> Any:
    facts = _draw(rng, split, **knobs)
    return facts, {"asked": "sum", "names": rng.sample(facts["names"], terms)}


def _draw_most(rng: random.Random, split: Split, **knobs: Any) -> Any:
    facts = _draw(rng, split, **knobs)
    facts["values"] = rng.sample(range(facts["high"] + 1), len(facts["names"]))
    return facts, {"asked": "most"}


def _draw_above(rng: random.Random, split: Split, **knobs: Any) -> Any:
    facts = _draw(rng, split, **knobs)
    return facts, {"asked": "above", "limit": rng.randint(1, facts["high"] - 1)}


def _read(facts: Facts) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(facts["names"], facts["values"]))


def _solve(facts: Facts, query: Query) -> Solution:
    value = dict(zip(facts["names"], facts["values"]))
    if query["asked"] == "most":
        return Solution(max(value, key=value.__getitem__), _read(facts), facts["names"])
    if query["asked"] == "above":
        choices = [str(k) for k in range(len(value) + 1)]
        return Solution(str(sum(v > query["limit"] for v in value.values())), _read(facts), choices)
    terms = [value[name] for name in query["names"]]
    choices = [str(k) for k in range(facts["high"] + 1)] if len(terms) == 1 else []
    return Solution(str(sum(terms)), ", ".join(f"{n} {v}" for n, v in zip(query["names"], terms)), choices)


def _ask(query: Query) -> str:
    if query["asked"] == "most":
        return "Which is largest?"
    if query["asked"] == "above":
        return f"How many are above {query['limit']}?"
    return f"Value of {' + '.join(query['names'])}?"


def _media(facts: Facts) -> list[Part]:
    return [image(draw_chart(facts))]


def _task(draw: Callable[..., Any], constant: Sequence[str]) -> Task:
    return Task(draw, _ask, _solve, _media, _read, constant)


_TASKS: dict[str, Task] = {
    "value": _task(_draw_value, [str(k) for k in range(10)]),
    "sum": _task(_draw_sum, [str(k) for k in range(19)]),
    "most": _task(_draw_most, scenes.COLOURS),
    "above": _task(_draw_above, [str(k) for k in range(5)]),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("charts", _TASKS)
rows, demonstrate, answers = _OFFERED.rows, _OFFERED.demonstrate, _OFFERED.answers
