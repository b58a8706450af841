"""What a source holds, as plain data for a dry run or a report to print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from PIL import Image

from gamutrl.core import Part, Prompt, Source
from gamutrl.data.media import even_indices
from gamutrl.data.problems import BadRow, Problem
from gamutrl.data.rows import FileRows
from gamutrl.data.selectors import as_text

_SHOWN = 60


@dataclass(frozen=True)
class ColumnInfo:
    """One column: what it holds, what part of a prompt it plays ("" for none), a value of the first row."""

    name: str
    holds: str
    part: str
    example: str


@dataclass(frozen=True)
class RowInfo:
    """One row as the policy will get it: its question, answer and media (`image 400×100`)."""

    id: str
    question: str
    answer: str
    media: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """A source at a glance. `size` is None for rows that never end; `notes` are what a person should think about."""

    name: str
    size: int | None
    columns: tuple[ColumnInfo, ...]
    rows: tuple[RowInfo, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def describe(source: Source, rows: int = 8) -> Description:
    """Look at a source: its columns, some rows evenly spread (their media opened), its problems.

    A bad row is listed among the problems here, and does not stop the look.
    """
    if isinstance(source, FileRows):
        return _of_file(source, rows)
    prompts = source.batch(0, rows, 0)
    size = len(source) if hasattr(source, "__getitem__") and _finite(source) else None  # type: ignore[arg-type]
    first = prompts[0] if prompts else Prompt(())
    columns = tuple(ColumnInfo(name, type(value).__name__, "", _short(value)) for name, value in first.columns.items())
    return Description(_name(source), size, columns, tuple(map(row_info, prompts)), (), ())


def row_info(prompt: Prompt) -> RowInfo:
    """A prompt at a glance."""
    return RowInfo(prompt.id, _short(prompt.text, 200), _short(prompt.answer), tuple(map(medium, prompt.media)))


def medium(part: Part) -> str:
    """`image 400×100`, `video 8 frames 64×64 at 2 fps`, `audio 1.5 s`."""
    if isinstance(part.value, Image.Image):
        return f"{part.kind} {part.value.width}×{part.value.height}"
    if part.kind == "video" and len(part.value):
        rate = f" at {part.info['fps']:.3g} fps" if part.info.get("fps") else ""
        return f"video {len(part.value)} frames {part.value[0].width}×{part.value[0].height}{rate}"
    if part.kind == "audio":
        return f"audio {len(part.value) / part.info['sampling_rate']:.1f} s"
    return part.kind


def _of_file(source: FileRows, count: int) -> Description:
    places = source.places
    opened = source.opened
    seen: list[RowInfo] = []
    example: Prompt | None = None
    for k in even_indices(len(places), count):
        place = int(places[k])
        try:
            prompt = opened.prompt(place)
        except BadRow as bad:
            opened.note(place, str(bad))
            continue
        example = example or prompt
        seen.append(row_info(prompt))
    roles = {} if opened.written else opened.columns.roles(opened.types)
    columns = tuple(
        ColumnInfo(name, holds, ", ".join(roles.get(name, ())), _short((example.columns if example else {}).get(name)))
        for name, holds in opened.types.items()
    )
    return Description(_name(source), len(source), columns, tuple(seen), source.problems, tuple(_notes(source)))


def _notes(source: FileRows) -> list[str]:
    """A split by row where rows belong together, answers that are nearly all the same, rows without answers."""
    opened = source.opened
    notes = []
    if opened.undivided and not source.split_by:
        for name in opened.types:
            if name.lower().removesuffix("s") in _GROUP_NAMES or name.lower().endswith("_id"):
                values = opened.values(name, opened.good)
                if 1 < len({str(value) for value in values}) < len(values):
                    notes.append(
                        f"{name!r} has the same value in several rows, and rows are split one by one: "
                        f"--split-by {name} would keep those that belong together on one side."
                    )
    answers = [answer for answer in source.column("answer") if answer is not None]
    if not answers:
        notes.append("The rows have no answers (name their column: --columns answer=…).")
    else:
        texts = [as_text(answer) for answer in answers]
        common, times = Counter(texts).most_common(1)[0]
        share = times / len(texts)
        if share > 0.5:
            notes.append(f"{share:.0%} of the answers are {_short(common)!r}: always saying so scores that much.")
    return notes


_GROUP_NAMES = {"id", "identifier", "group", "image_id", "question_id", "image_path", "image", "video", "source"}


def _finite(source: Any) -> bool:
    try:
        len(source)
    except TypeError:
        return False
    return True


def _name(source: Any) -> str:
    if isinstance(source, FileRows):
        return f"{source.path} ({source.split})"
    told = [f"{field.name}={getattr(source, field.name)!r}" for field in fields(source)][:3]
    return f"{type(source).__name__}({', '.join(told)})"[:200]


def _short(value: Any, length: int = _SHOWN) -> str:
    words = " ".join(as_text(value).split())
    return words if len(words) <= length else f"{words[: length - 1]}…"


def problem_table(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Problems as plain rows for a table or a JSON file."""
    return [{"file": problem.file, "row": problem.row, "reason": problem.reason} for problem in problems]
