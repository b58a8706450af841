"""Films of which one moment matters: a digit is shown in one of many frames, and only that frame lets it be read.

The row shows the film small: a contact sheet (`view` "sheet": all frames as tiles, row by row) or a clip whose frames
are blurred ("clip"). A bright plate tells which frame holds a digit, not which digit. `frames_of(row)` has the frames
as they are. Knobs: `frames` (16), `moments` (how many frames show a digit), `others` (coloured shapes that wander
through), `view`, `form`. Columns beside the usual ones: `evidence` (the frames, from 1, that must be seen).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from gamutrl.core import Part, Prompt, image, video
from gamutrl.data.worlds import base, clips, render, scenes, turns
from gamutrl.data.worlds.base import Query, Solution, Split, Task

STYLES = base.STYLES
PLATE = 22
"""The side of the plate that a digit of 16 pixels is shown on."""
BLUR = 12
"""The side that the frames of a blurred clip are shrunk to."""

Film = dict[str, Any]


def demonstrate_turns(
    row: Prompt,
    write: turns.Writer = turns.crop_or_frames_call,
    error_rate: float = 0.0,
    seed: int = 0,
    *,
    detour: float = 0.0,
    form: str = "think",
) -> list[str]:
    """The assistant's turns: the frames that matter, then the answer. detour: how often others are looked at first."""
    rng = random.Random(f"{row.id}/turns/{seed}")
    columns = row.columns
    solution = _TASKS[columns["task"]].solve(columns["facts"], columns["query"])
    looks = [turns.Look("look at the bright frame", {"frames": columns["evidence"]})] if columns["evidence"] else []
    if looks and rng.random() < detour:
        others = [k for k in range(1, columns["facts"]["frames"] + 1) if k not in columns["evidence"]]
        looks.insert(0, replace(looks[0], at={"frames": [rng.choice(others)]}))
    plan = turns.clumsy(
        turns.Plan(looks, solution.thought, solution.answer), rng, 0.0, error_rate, base.wrong_answer(solution, rng)
    )
    return turns.written(plan, write, form)


def frames_of(prompt: Prompt) -> list[Image.Image]:
    """The frames of a row's film as they are: what a tool that selects frames shows."""
    return render.pictures(draw_frames(prompt.columns["facts"]))


def draw_frames(film: Film) -> list[render.Canvas]:
    canvases = clips.draw_frames(film)
    for moment in film["moments"]:
        canvas = canvases[moment["frame"]]
        x, y, _, _ = moment["box"]
        canvas[y : y + PLATE, x : x + PLATE] = render.WHITE
        canvas[y + 2 : y + PLATE - 2, x + 2 : x + PLATE - 2] = 12
        render.paint(canvas, render.digit_stamp(moment["scan"]), render.WHITE, x + 3, y + 3)
    return canvases


def contact_sheet(frames: Sequence[Image.Image]) -> Image.Image:
    """All frames as tiles of one canvas, row by row."""
    across = math.ceil(math.sqrt(len(frames)))
    side = render.SIZE // across
    sheet = Image.new("RGB", (render.SIZE, render.SIZE))
    for k, frame in enumerate(frames):
        sheet.paste(frame.resize((side, side), Image.Resampling.BOX), (k % across * side, k // across * side))
    return sheet


def blurred(frame: Image.Image) -> Image.Image:
    return frame.resize((BLUR, BLUR), Image.Resampling.BOX).resize(frame.size, Image.Resampling.BILINEAR)


def read(film: Film) -> str:
    return ", ".join(f"frame {moment['frame'] + 1} shows {moment['digit']}" for moment in film["moments"])


def _draw(
    rng: random.Random,
    split: Split,
    frames: int = 16,
    moments: int = 1,
    others: int = 1,
    view: str = "sheet",
) -> Any:
    if view not in ("sheet", "clip"):
        raise ValueError(f"A film is shown as a 'sheet' or as a 'clip', not as {view!r}.")
    kinds = rng.sample(scenes.KINDS, rng.randint(0, others))
    tracks = [clips.track(rng, kind, frames, rng.choice(tuple(clips.DIRECTIONS)), 30) for kind in kinds]
    shown = []
    for frame in sorted(rng.sample(range(frames), moments)):
        digit = rng.randrange(10)
        x, y = (rng.randint(0, render.SIZE - PLATE) for _ in range(2))
        scan = rng.choice(render.scans(split)[digit])
        shown.append({"frame": frame, "digit": digit, "scan": scan, "box": [x, y, x + PLATE, y + PLATE]})
    return {"frames": frames, "tracks": tracks, "moments": shown, "view": view}, {}


def _draw_digit(rng: random.Random, split: Split, **knobs: Any) -> Any:
    return _draw(rng, split, **knobs)[0], {"asked": "digit"}


def _draw_sum(rng: random.Random, split: Split, **knobs: Any) -> Any:
    return _draw(rng, split, **{"moments": 2, **knobs})[0], {"asked": "sum"}


def _draw_when(rng: random.Random, split: Split, **knobs: Any) -> Any:
    """In which frame: plain to see without looking at any frame by itself."""
    return _draw(rng, split, **knobs)[0], {"asked": "when"}


def _solve_digits(film: Film, query: Query) -> Solution:
    digits = [moment["digit"] for moment in film["moments"]]
    return Solution(str(sum(digits)), read(film), [str(k) for k in range(10)] if len(digits) == 1 else ())


def _solve_when(film: Film, query: Query) -> Solution:
    frame = film["moments"][0]["frame"] + 1
    return Solution(str(frame), f"frame {frame} is bright", [str(k + 1) for k in range(film["frames"])])


def _evidence(row: Prompt) -> list[int]:
    if row.columns["query"]["asked"] == "when":
        return []
    return [moment["frame"] + 1 for moment in row.columns["facts"]["moments"]]


def _media(film: Film) -> list[Part]:
    frames = render.pictures(draw_frames(film))
    return [image(contact_sheet(frames)) if film["view"] == "sheet" else video(list(map(blurred, frames)), fps=2)]


_DIGITS = [str(k) for k in range(10)]


def _with_evidence(row: Prompt) -> Prompt:
    return replace(row, columns={**row.columns, "evidence": _evidence(row)})


_TASKS: dict[str, Task] = {
    "digit": Task(_draw_digit, lambda q: "Which digit is shown?", _solve_digits, _media, read, _DIGITS),
    "sum": Task(_draw_sum, lambda q: "Sum of the digits?", _solve_digits, _media, read, [str(k) for k in range(19)]),
    "when": Task(
        _draw_when, lambda q: "Which frame shows a digit?", _solve_when, _media, read, [str(k) for k in range(1, 17)]
    ),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("films", _TASKS, _with_evidence)
rows, demonstrate, answers = _OFFERED.rows, _OFFERED.demonstrate, _OFFERED.answers
