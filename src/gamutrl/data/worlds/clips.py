"""Coloured shapes that move, appear and flash over a few small frames.

Knobs of most tasks: `frames` (8), `others` (at most how many still shapes besides), `travel` (pixels moved); of all:
`form`. A track is a dict: shape, colour, size, path (the corner's place in each frame), visible (the frames that show
it, from 0).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from gamutrl.core import Part, video
from gamutrl.data.worlds import base, render
from gamutrl.data.worlds.base import Query, Solution, Split, Task
from gamutrl.data.worlds.scenes import COLOURS, LETTERS, SHAPES, lettered, name

STYLES = base.STYLES
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}

Track = dict[str, Any]
Clip = dict[str, Any]
_KINDS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)


# What happens in a clip


def track(
    rng: random.Random,
    kind: tuple[str, str],
    frames: int,
    direction: str | None = None,
    travel: int = 0,
    visible: Sequence[int] | None = None,
) -> Track:
    """A shape that moves `travel` pixels in a direction (None: stays), shown in some frames (None: in all)."""
    size = rng.randint(11, 16)
    room = render.SIZE - size
    dx, dy = DIRECTIONS[direction] if direction else (0, 0)
    travel = min(travel, room)
    x, y = (rng.randint(max(0, -d * travel), room - max(0, d * travel)) for d in (dx, dy))
    steps = max(1, frames - 1)
    return {
        "shape": kind[1],
        "colour": kind[0],
        "size": size,
        "direction": direction,
        "path": [[x + round(dx * travel * t / steps), y + round(dy * travel * t / steps)] for t in range(frames)],
        "visible": list(range(frames) if visible is None else visible),
    }


def draw_frames(clip: Clip) -> list[render.Canvas]:
    """The frames. A clip's `cue` is a white bar at one edge, which tells a direction rightly or wrongly."""
    canvases = []
    for t in range(clip["frames"]):
        canvas = render.blank((24, 24, 24))
        if clip.get("cue"):
            dx, dy = DIRECTIONS[clip["cue"]]
            bar = slice(None) if dx == 0 else slice(0, 3) if dx < 0 else slice(-3, None)
            side = slice(None) if dy == 0 else slice(0, 3) if dy < 0 else slice(-3, None)
            canvas[side, bar] = render.WHITE
        for shape in clip["tracks"]:
            if t in shape["visible"]:
                stamp = render.shape_stamp(shape["shape"], shape["size"])
                render.paint(canvas, stamp, render.COLOURS[shape["colour"]], *shape["path"][t])
        canvases.append(canvas)
    return canvases


def describe(shape: Track) -> str:
    """What one shape does."""
    if shape["direction"]:
        return f"{name(shape)} moves {shape['direction']}"
    if shape["visible"] and shape["visible"][0] > 0:
        return f"{name(shape)} appears {shape['visible'][0]}"
    return f"{name(shape)} stays"


def caption(clip: Clip) -> str:
    return ", ".join(describe(shape) for shape in clip["tracks"])


def answer_to(task: str, facts: Any, query: Query) -> tuple[str, str]:
    """A plain question about these facts, and its answer."""
    chosen = base.find_task("clips", _TASKS, task)
    return chosen.ask(query), chosen.solve(facts, query).written()


def varied_questions(rng: random.Random, clip: Clip) -> list[tuple[str, Query]]:
    """One question of each kind that this clip can answer."""
    first, starts = clip["tracks"][0], [shape["visible"][0] for shape in clip["tracks"]]
    asked: list[tuple[str, Query]] = [("caption", {})]
    if first["direction"]:
        asked.append(("direction", {"name": name(first), "direction": first["direction"]}))
    if len(first["visible"]) == first["visible"][-1] - first["visible"][0] + 1:
        asked.append(("span", {"name": name(first)}))
    if len(set(starts)) == len(starts) > 1:
        asked += [("order", {"which": which}) for which in ("first", "last")]
    return asked


def _still(rng: random.Random, most: int, taken: Sequence[tuple[str, str]], frames: int) -> list[Track]:
    kinds = rng.sample([kind for kind in _KINDS if kind not in taken], rng.randint(0, most))
    return [track(rng, kind, frames) for kind in kinds]


# Tasks


def _draw_direction(
    rng: random.Random,
    split: Split,
    frames: int = 8,
    others: int = 2,
    travel: tuple[int, int] = (12, 40),
    cue: float | None = None,
) -> Any:
    """One shape moves, the others stay. travel: from little (hard) to much. cue: how often the cue is right."""
    direction, kind = rng.choice(tuple(DIRECTIONS)), rng.choice(_KINDS)
    moving = track(rng, kind, frames, direction, rng.randint(*travel))
    clip: Clip = {"frames": frames, "tracks": [moving, *_still(rng, others, [kind], frames)]}
    if cue is not None:
        wrong = [other for other in DIRECTIONS if other != direction]
        clip["cue"] = direction if rng.random() < cue else rng.choice(wrong)
    return clip, {"name": name(moving), "direction": direction}


def _solve_direction(clip: Clip, query: Query) -> Solution:
    return Solution(query["direction"], caption(clip), tuple(DIRECTIONS))


def _draw_order(rng: random.Random, split: Split, frames: int = 8, shapes: int = 3) -> Any:
    """Different shapes appear one after the other and stay; asks for the first or the last."""
    kinds, starts = rng.sample(_KINDS, shapes), rng.sample(range(frames), shapes)
    tracks = [track(rng, kind, frames, visible=range(start, frames)) for kind, start in zip(kinds, starts)]
    return {"frames": frames, "tracks": tracks}, {"which": rng.choice(("first", "last"))}


def _solve_order(clip: Clip, query: Query) -> Solution:
    in_time = [name(shape) for shape in sorted(clip["tracks"], key=lambda shape: shape["visible"][0])]
    return Solution(in_time[0 if query["which"] == "first" else -1], ", ".join(in_time), in_time)


def _draw_all(rng: random.Random, split: Split, frames: int = 8, fewest: int = 2, most: int = 4) -> Any:
    """Like `order`, with `fewest` to `most` shapes; asks for all of them, in any order."""
    return _draw_order(rng, split, frames, rng.randint(fewest, most))[0], {}


def _solve_all(clip: Clip, query: Query) -> Solution:
    in_time = _solve_order(clip, {"which": "last"}).choices
    return Solution(",".join(in_time), ", ".join(in_time))


def _draw_count(rng: random.Random, split: Split, frames: int = 8, others: int = 1, most: int = 4) -> Any:
    """A shape flashes for one frame at a time, 1 to `most` times (never in neighbouring frames)."""
    count, kind = rng.randint(1, most), rng.choice(_KINDS)
    starts = sorted(rng.sample(range(frames - count + 1), count))
    flashing = track(rng, kind, frames, visible=[start + i for i, start in enumerate(starts)])
    return {"frames": frames, "tracks": [flashing, *_still(rng, others, [kind], frames)]}, {"name": name(flashing)}


def _solve_count(clip: Clip, query: Query) -> Solution:
    seen = clip["tracks"][0]["visible"]
    return Solution(str(len(seen)), f"{' '.join(map(str, seen))}: {len(seen)}", [str(k) for k in range(1, 5)])


def _draw_span(rng: random.Random, split: Split, frames: int = 8, others: int = 2) -> Any:
    """A shape is visible from one frame to another; the window's length is the difficulty."""
    first, last = sorted(rng.choices(range(frames), k=2))
    kind = rng.choice(_KINDS)
    shown = track(rng, kind, frames, visible=range(first, last + 1))
    return {"frames": frames, "tracks": [shown, *_still(rng, others, [kind], frames)]}, {"name": name(shown)}


def _solve_span(clip: Clip, query: Query) -> Solution:
    seen = clip["tracks"][0]["visible"]
    return Solution(f"{seen[0]} to {seen[-1]}", " ".join(map(str, seen)))


def _draw_truths(rng: random.Random, split: Split, frames: int = 8, most: int = 3, travel: int = 28) -> Any:
    """Two shapes and four statements, 1 to `most` of them true."""
    kinds = rng.sample(_KINDS, 2)
    ways = [rng.choice((*DIRECTIONS, None)) for _ in kinds]
    tracks = [track(rng, kind, frames, way, travel) for kind, way in zip(kinds, ways)]
    absent = [kind for kind in _KINDS if kind not in kinds]
    true = [describe(shape) for shape in tracks] + [f"{kind[0]} {kind[1]} is there" for kind in kinds]
    false = [f"{kind[0]} {kind[1]} is there" for kind in rng.sample(absent, 2)]
    for shape in tracks:
        wrong = [way for way in (*DIRECTIONS, None) if way != shape["direction"]]
        false.append(describe(shape | {"direction": rng.choice(wrong)}))
    count = rng.randint(1, min(most, len(true)))
    options = [(option, True) for option in rng.sample(true, count)]
    options += [(option, False) for option in rng.sample(false, 4 - count)]
    rng.shuffle(options)
    query = {"options": [option for option, _ in options], "true": [truth for _, truth in options]}
    return {"frames": frames, "tracks": tracks}, query


def _solve_truths(clip: Clip, query: Query) -> Solution:
    letters = [letter for letter, truth in zip(LETTERS, query["true"]) if truth]
    every = [[letter for k, letter in enumerate(LETTERS) if mask >> k & 1] for mask in range(1, 15)]
    return Solution(",".join(letters), caption(clip), [",".join(some) for some in every])


def _draw_choice(rng: random.Random, split: Split, order_share: float = 0.5, cue: float = 0.6, **knobs: Any) -> Any:
    """Lettered options. `order_share` of the questions need the order of frames (where does it go?); the others ask for
    the colour of what moves. cue: how often the white bar tells the direction rightly. Takes `direction`'s other
    knobs."""
    clip, query = _draw_direction(rng, split, cue=cue, **knobs)
    moving = clip["tracks"][0]
    if rng.random() < order_share:
        options, right, query["asked"] = list(DIRECTIONS), query["direction"], "direction"
    else:
        right, query["asked"] = moving["colour"], "colour"
        options = [right, *rng.sample([colour for colour in COLOURS if colour != right], 3)]
    rng.shuffle(options)
    return clip, query | {"options": options, "right": right}


def _ask_choice(query: Query) -> str:
    asked = f"Where does the {query['name']} go?" if query["asked"] == "direction" else "What colour moves?"
    return f"{asked} {lettered(query['options'])}"


def _solve_choice(clip: Clip, query: Query) -> Solution:
    return Solution(LETTERS[query["options"].index(query["right"])], caption(clip), LETTERS)


def _media(clip: Clip) -> list[Part]:
    return [video(render.pictures(draw_frames(clip)), fps=2)]


def _task(
    draw: Callable[..., Any], ask: Callable[[Query], str], solve: Any, constant: Sequence[str | Solution] = ()
) -> Task:
    return Task(draw, ask, solve, _media, caption, constant)


_TASKS: dict[str, Task] = {
    "caption": _task(_draw_direction, lambda q: "What happens?", lambda f, q: Solution(caption(f), caption(f))),
    "direction": _task(
        _draw_direction, lambda q: f"Where does the {q['name']} go?", _solve_direction, tuple(DIRECTIONS)
    ),
    "order": _task(_draw_order, lambda q: f"Which comes {q['which']}?", _solve_order),
    "all": _task(_draw_all, lambda q: "Which come?", _solve_all),
    "count": _task(
        _draw_count, lambda q: f"How often does the {q['name']} flash?", _solve_count, [str(k) for k in range(1, 5)]
    ),
    "span": _task(_draw_span, lambda q: f"When is the {q['name']} there?", _solve_span, ("0 to 7", "2 to 5", "1 to 6")),
    "truths": _task(
        _draw_truths,
        lambda q: f"Which are true? {lettered(q['options'])}",
        _solve_truths,
        ("A", "B", "C", "D", "A,B,C"),
    ),
    "choice": _task(_draw_choice, _ask_choice, _solve_choice, tuple(LETTERS)),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("clips", _TASKS)
rows, demonstrate, answers = _OFFERED.rows, _OFFERED.demonstrate, _OFFERED.answers
