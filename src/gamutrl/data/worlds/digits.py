"""Canvases composed of real handwritten digits: reading, sums, counting, locating, several images, clips.

The scans are scikit-learn's 1,797; those of the test split are never in a training canvas. Knobs of most tasks: `low`,
`high` (how many digits), `grid` (cells a side: 3, or 4 for little room); of all: `form` and `boxes`
(see `forms`). A digit is a dict: digit, scan, box, cell (row by row from 0).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from gamutrl.core import Part, image, video
from gamutrl.data.worlds import base, render
from gamutrl.data.worlds.base import Query, Solution, Split, Task

STYLES = base.STYLES
INK = 16
"""The side of a digit, in pixels."""

Digit = dict[str, Any]
_NUMBERS = [str(k) for k in range(10)]


def answer_to(task: str, facts: Any, query: Query) -> tuple[str, str]:
    """A plain question about these facts, and its answer."""
    chosen = base.find_task("digits", _TASKS, task)
    return chosen.ask(query), chosen.solve(facts, query).written()


# What is on a canvas


def place(rng: random.Random, split: Split, digits: Sequence[int], grid: int = 3) -> list[Digit]:
    """These digits in different cells of a grid, in reading order, each as a scan of the split."""
    side = render.SIZE // grid
    found = []
    for digit, cell in zip(digits, rng.sample(range(grid * grid), len(digits))):
        x, y = (at * side + rng.randint(0, side - INK) for at in (cell % grid, cell // grid))
        scan = rng.choice(render.scans(split)[digit])
        found.append({"digit": digit, "scan": scan, "box": [x, y, x + INK, y + INK], "cell": cell})
    return sorted(found, key=lambda thing: thing["cell"])


def draw_canvas(digits: Sequence[Digit]) -> render.Canvas:
    canvas = render.blank((12, 12, 12))
    for digit in digits:
        render.paint(canvas, render.digit_stamp(digit["scan"]), render.WHITE, digit["box"][0], digit["box"][1])
    return canvas


def read(digits: Sequence[Digit]) -> str:
    """The digits in reading order."""
    return " ".join(str(digit["digit"]) for digit in digits)


def table(digits: Sequence[Digit], grid: int) -> str:
    """Every cell row by row, `-` where it is empty: `3 - 7 / - 1 - / 4 4 9`."""
    at = {digit["cell"]: str(digit["digit"]) for digit in digits}
    return " / ".join(" ".join(at.get(r * grid + c, "-") for c in range(grid)) for r in range(grid))


def _others(rng: random.Random, digit: int, k: int) -> list[int]:
    return rng.choices([other for other in range(10) if other != digit], k=k)


def more_questions(rng: random.Random, digits: Sequence[Digit]) -> list[tuple[str, Query]]:
    """Tasks and queries that any canvas of digits on a 3 × 3 grid can answer: dense practice on one picture."""
    asked: list[tuple[str, Query]] = [("read", {"grid": 3}), ("everything", {"digit": None}), ("sum", {})]
    asked.append(("count", {"digit": rng.randrange(10)}))
    values = [digit["digit"] for digit in digits]
    return asked + [("locate", {"digit": value}) for value in values if values.count(value) == 1]


def varied_questions(rng: random.Random, digits: Sequence[Digit]) -> list[tuple[str, Query]]:
    """One question of each kind that a canvas of digits on a 3 × 3 grid can answer."""
    values = [digit["digit"] for digit in digits]

    def shown() -> int:
        return rng.choice(values) if rng.random() < 0.7 else rng.randrange(10)

    asked: list[tuple[str, Query]] = [("read", {"grid": 3}), ("everything", {"digit": None}), ("sum", {})]
    asked += [("count", {"digit": shown()}), ("detect", {"digit": shown()})]
    single = [value for value in values if values.count(value) == 1]
    return [*asked, ("locate", {"digit": rng.choice(single)})] if single else asked


# Tasks


def _draw_any(rng: random.Random, split: Split, low: int = 3, high: int = 9, grid: int = 3) -> Any:
    return place(rng, split, rng.choices(range(10), k=rng.randint(low, high)), grid), {"grid": grid}


def _draw_sum(rng: random.Random, split: Split, low: int = 2, high: int = 4, grid: int = 3) -> Any:
    return _draw_any(rng, split, low, high, grid)


def _solve_sum(digits: list[Digit], query: Query) -> Solution:
    values = [digit["digit"] for digit in digits]
    return Solution(str(sum(values)), f"{' + '.join(map(str, values))} = {sum(values)}")


def _draw_count(rng: random.Random, split: Split, low: int = 3, high: int = 7, most: int = 4, grid: int = 3) -> Any:
    """Counts 0 to `most`, equally often."""
    digit, count = rng.randrange(10), rng.randint(0, most)
    others = rng.randint(max(0, low - count), max(0, high - count))
    return place(rng, split, [digit] * count + _others(rng, digit, others), grid), {"digit": digit}


def _solve_count(digits: list[Digit], query: Query) -> Solution:
    count = sum(digit["digit"] == query["digit"] for digit in digits)
    return Solution(str(count), f"{read(digits)}: {count}", _NUMBERS[:5])


def _draw_locate(rng: random.Random, split: Split, low: int = 2, high: int = 6, grid: int = 3) -> Any:
    digit = rng.randrange(10)
    return place(rng, split, [digit, *_others(rng, digit, rng.randint(low, high) - 1)], grid), {"digit": digit}


def _draw_detect(
    rng: random.Random,
    split: Split,
    low: int = 2,
    high: int = 6,
    absent: float = 0.25,
    most: int = 3,
    grid: int = 3,
) -> Any:
    """All scans of a digit: 1 to `most`, or none (as often as `absent` says)."""
    digit = rng.randrange(10)
    count = 0 if rng.random() < absent else rng.randint(1, most)
    others = _others(rng, digit, rng.randint(max(0, low - count), max(0, high - count)))
    return place(rng, split, [digit] * count + others, grid), {"digit": digit}


def _draw_everything(rng: random.Random, split: Split, low: int = 2, high: int = 6, grid: int = 3) -> Any:
    digits, _ = _draw_any(rng, split, low, high, grid)
    return digits, {"digit": None}


def _solve_boxes(digits: list[Digit], query: Query, single: bool) -> Solution:
    found = [digit for digit in digits if query["digit"] in (None, digit["digit"])]
    boxes, labels = [digit["box"] for digit in found], [str(digit["digit"]) for digit in found]
    return Solution("", read(digits), boxes=boxes, labels=labels, single=single)


def _draw_classify(rng: random.Random, split: Split) -> Any:
    """One digit anywhere."""
    return place(rng, split, [rng.randrange(10)]), {}


def _solve_classify(digits: list[Digit], query: Query) -> Solution:
    return Solution(read(digits), "one digit", _NUMBERS)


def _draw_images(rng: random.Random, split: Split, images: int = 3, low: int = 1, high: int = 3) -> Any:
    """Several canvases, one of which shows the digit, each equally often."""
    digit, right = rng.randrange(10), rng.randrange(images)
    facts = []
    for i in range(images):
        others = _others(rng, digit, rng.randint(low, high) - int(i == right))
        facts.append(place(rng, split, [digit] * int(i == right) + others))
    return facts, {"digit": digit}


def _solve_images(facts: list[list[Digit]], query: Query) -> Solution:
    holds = [any(digit["digit"] == query["digit"] for digit in digits) for digits in facts]
    thought = ". ".join(f"{i + 1}: {read(digits)}" for i, digits in enumerate(facts))
    return Solution(str(holds.index(True) + 1), thought, [str(i + 1) for i in range(len(facts))])


def _draw_sum_images(rng: random.Random, split: Split, images: int = 2, low: int = 1, high: int = 2) -> Any:
    return [_draw_any(rng, split, low, high)[0] for _ in range(images)], {}


def _draw_order(rng: random.Random, split: Split, digits: int = 3, frames: int = 8) -> Any:
    """Different digits that appear one after the other and stay; asks for the first or the last."""
    shown = place(rng, split, rng.sample(range(10), digits))
    for digit, start in zip(shown, rng.sample(range(frames), digits)):
        digit["start"] = start
    return {"digits": shown, "frames": frames}, {"which": rng.choice(("first", "last"))}


def _solve_order(facts: dict[str, Any], query: Query) -> Solution:
    in_time = read(sorted(facts["digits"], key=lambda digit: digit["start"]))
    answer = in_time.split(" ")[0 if query["which"] == "first" else -1]
    return Solution(answer, in_time, in_time.split(" "))


def _draw_direction(rng: random.Random, split: Split, frames: int = 8, travel: int = 28) -> Any:
    """One digit that moves `travel` pixels in a straight line."""
    direction = rng.choice(("left", "right", "up", "down"))
    dx, dy = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[direction]
    room = render.SIZE - INK
    x, y = (rng.randint(max(0, -d * travel), room - max(0, d * travel)) for d in (dx, dy))
    moving = place(rng, split, [rng.randrange(10)])[0]
    moving |= {
        "start": 0,
        "path": [[x + dx * travel * t // (frames - 1), y + dy * travel * t // (frames - 1)] for t in range(frames)],
    }
    return {"digits": [moving], "frames": frames}, {"direction": direction}


def _solve_direction(facts: dict[str, Any], query: Query) -> Solution:
    return Solution(query["direction"], f"{read(facts['digits'])} moves", ("left", "right", "up", "down"))


def draw_frames(facts: dict[str, Any]) -> list[render.Canvas]:
    """The frames of a clip: a digit is shown from its start on, at its place or along its path."""
    canvases = []
    for t in range(facts["frames"]):
        shown = [digit for digit in facts["digits"] if digit["start"] <= t]
        canvases.append(
            draw_canvas([digit | {"box": digit["path"][t]} if "path" in digit else digit for digit in shown])
        )
    return canvases


def _media(digits: Sequence[Digit]) -> list[Part]:
    return [image(render.picture(draw_canvas(digits)))]


def _several(facts: Sequence[Sequence[Digit]]) -> list[Part]:
    return [part for digits in facts for part in _media(digits)]


def _clip(facts: dict[str, Any]) -> list[Part]:
    return [video(render.pictures(draw_frames(facts)), fps=2)]


def _still(
    draw: Callable[..., Any], ask: Callable[[Query], str], solve: Any, constant: Sequence[str | Solution] = ()
) -> Task:
    return Task(draw, ask, solve, _media, read, constant)


_CENTRE = [Solution(boxes=[box], single=True) for box in ([0, 0, 72, 72], [28, 28, 44, 44])]
_NOWHERE = [Solution(boxes=[])]

_TASKS: dict[str, Task] = {
    "read": _still(_draw_any, lambda q: "Read the digits.", lambda f, q: Solution(table(f, q["grid"]), read(f))),
    "sum": _still(_draw_sum, lambda q: "Sum of the digits?", _solve_sum, [str(k) for k in range(37)]),
    "count": _still(_draw_count, lambda q: f"How many {q['digit']}s?", _solve_count, _NUMBERS[:5]),
    "locate": _still(
        _draw_locate, lambda q: f"Where is the {q['digit']}?", lambda f, q: _solve_boxes(f, q, single=True), _CENTRE
    ),
    "detect": _still(
        _draw_detect,
        lambda q: f"Find all {q['digit']}s.",
        lambda f, q: _solve_boxes(f, q, single=False),
        _NOWHERE,
    ),
    "everything": _still(_draw_everything, lambda q: "Find all digits.", lambda f, q: _solve_boxes(f, q, single=False)),
    "classify": _still(_draw_classify, lambda q: "Which digit?", _solve_classify, _NUMBERS),
    "images": Task(
        _draw_images,
        lambda q: f"Which image has a {q['digit']}?",
        _solve_images,
        _several,
        lambda facts: ". ".join(map(read, facts)),
        ("1", "2", "3"),
    ),
    "sum_images": Task(
        _draw_sum_images,
        lambda q: "Sum of all digits?",
        lambda f, q: _solve_sum([digit for digits in f for digit in digits], q),
        _several,
        lambda facts: ". ".join(map(read, facts)),
        [str(k) for k in range(37)],
    ),
    "order": Task(
        _draw_order,
        lambda q: f"Which digit comes {q['which']}?",
        _solve_order,
        _clip,
        lambda facts: read(facts["digits"]),
        _NUMBERS,
    ),
    "direction": Task(
        _draw_direction,
        lambda q: "Where does the digit go?",
        _solve_direction,
        _clip,
        lambda facts: read(facts["digits"]),
        ("left", "right", "up", "down"),
    ),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("digits", _TASKS)
rows, demonstrate, answers = _OFFERED.rows, _OFFERED.demonstrate, _OFFERED.answers
