"""What a source holds, as plain data for a dry run or a report to print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from PIL import Image

from gamutrl.core import Part, Prompt, Source
from gamutrl.data.problems import BadRow, Problem
from gamutrl.data.rows import FileRows
from gamutrl.data.selectors import as_text
from gamutrl.data.sources import take

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
    """Look at a source: its columns, some of its rows (their media opened), its problems.

    What a source is made of is looked into: columns and notes are those of the files at its bottom, rows are as the
    source gives them. Bad rows are listed among the problems, and do not stop the look.
    """
    lenient = _lenient(source)
    seen = list({prompt.id: prompt for prompt in take(lenient, rows)}.values())
    files = list(files_of(lenient))
    columns = [column for file in files for column in _columns(file)] or _columns_of(seen)
    problems = {(p.file, p.row): p for file in files for p in file.problems}
    notes = dict.fromkeys(note for file in files for note in _notes(file))
    return Description(
        _name(source),
        _size(lenient),
        tuple({column.name: column for column in reversed(columns)}.values())[::-1],
        tuple(map(row_info, seen)),
        tuple(problems.values()),
        tuple(notes),
    )


def files_of(source: Any) -> Iterator[FileRows]:
    """The files at the bottom of a source."""
    if isinstance(source, FileRows):
        yield source
    elif isinstance(source, list | tuple):
        for part in source:
            yield from files_of(part)
    elif is_dataclass(source):
        for part in fields(source):
            yield from files_of(getattr(source, part.name))


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


def _lenient(value: Any) -> Any:
    """The source with bad rows left out."""
    if isinstance(value, FileRows):
        return replace(value, on_bad_row="skip")
    if isinstance(value, tuple):
        return tuple(map(_lenient, value))
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return replace(value, **{part.name: _lenient(getattr(value, part.name)) for part in fields(value) if part.init})


def _columns(file: FileRows) -> list[ColumnInfo]:
    opened = file.opened
    roles = {} if opened.written else opened.columns.roles(opened.types)
    values: dict[str, Any] = {}
    with suppress(BadRow):
        values = dict(opened.prompt(int(file.places[0])).columns)
    return [
        ColumnInfo(name, holds, ", ".join(roles.get(name, ())), _short(values.get(name)))
        for name, holds in opened.types.items()
    ]


def _columns_of(prompts: Sequence[Prompt]) -> list[ColumnInfo]:
    columns = prompts[0].columns if prompts else {}
    return [ColumnInfo(name, type(value).__name__, "", _short(value)) for name, value in columns.items()]


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


def _size(source: Any) -> int | None:
    try:
        return len(source)
    except TypeError:
        return None


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
