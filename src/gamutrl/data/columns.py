"""Which column plays which part: `prompt="Is it true: {sentence}?",image=image,answer=label`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from gamutrl.data.problems import BadRow, DataError, missing_column
from gamutrl.data.selectors import as_text, selector, split_top

Value = Callable[[Mapping[str, Any]], Any]
"""A row to what a mapping asks of it."""

CAPTIONS = ("caption", "captions", "text")
"""A prompt of such a name describes the picture beside it."""

_NUMBERED = ("image_0", "jpg_0", "image_a", "image_1st")
_KNOWN = {
    "prompt": (
        "messages", "conversations", "conversation", "prompt", "problem", "question", "query", "instruction",
        *CAPTIONS,
    ),
    "image": ("image", "images", "img", "image_path", "image_paths", "image_file"),
    "video": ("video", "videos", "video_path", "frames", "clip"),
    "audio": ("audio", "audios", "sound", "audio_path"),
    "answer": (
        "answer", "answers", "solution", "ground_truth", "ground_truths", "gt", "label", "target", "final_answer",
    ),
    "completion": ("completion", "demonstration", "response", "output"),
    "target": (),
    "chosen": ("chosen", "chosen_image", *_NUMBERED),
    "rejected": ("rejected", "rejected_image", "image_1", "jpg_1", "image_b", "image_2nd"),
    "preferred": ("preferred", "preference", "label_1"),
}  # fmt: skip
"""The names people give to each part, in the order they are looked for."""


@dataclass(frozen=True)
class Columns:
    """What each part of a prompt is made of; an empty part is found by its usual name.

    Every part is a column's name, a path into one (`gamutrl.data.selectors`), or a text with paths in braces (`{{` for
    a brace). A `prompt` or `system` with a blank in it is such a text even without braces. `image`, `video` and `audio`
    may join several columns with `+`; "none" turns a part off. In the prompt's text `<image>`, `<video>` and `<audio>`
    say where each medium goes; without them media come first.

    `answer` keeps its type (`as_text` says how a value reads where text is wanted). `completion` is a demonstrated
    assistant text, for supervised stages. `target` is a picture that the prompt describes: what a picture is captioned
    with (a prompt called caption or text) asks for it. `chosen` and `rejected` are two pictures, or texts, of which the
    first is liked better; `preferred` says for each row which is, in the order they are named: 0, 1, or 0.5 for a tie.
    `extra` are columns of the caller's own, for rewards: pairs of a name and what it is made of.
    """

    prompt: str = ""
    image: str = ""
    video: str = ""
    audio: str = ""
    answer: str = ""
    system: str = ""
    completion: str = ""
    target: str = ""
    chosen: str = ""
    rejected: str = ""
    preferred: str = ""
    extra: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Columns:
        """`name=value,name=value` (or a JSON object) to a mapping; other names than the parts' become `extra`.

        A comma inside quotes or brackets belongs to the value; so does one that no `name=` follows.
        """
        pairs = _pairs(text)
        names = [name for name, _ in pairs]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise DataError(f"--columns names {', '.join(sorted(twice))} twice.")
        parts = {field.name for field in fields(cls)} - {"extra"}
        known = {name: value for name, value in pairs if name in parts}
        return cls(**known, extra=tuple((name, value) for name, value in pairs if name not in parts))

    def resolved(self, present: Collection[str]) -> Columns:
        """The mapping with its empty parts found among the columns that are there (case does not matter).

        Raises `DataError` where a named column is missing, or nothing tells what to ask.
        """
        folded = {name.lower(): name for name in reversed(list(present))}
        found: dict[str, Any] = {}
        for part, names in _KNOWN.items():
            if getattr(self, part) == "none":
                found[part] = ""
            elif not getattr(self, part):
                found[part] = next((folded[name] for name in names if name in folded), "")
        self._pairs_and_targets(found, folded)
        if not self.answer and not found.get("answer") and "reward_model" in folded:
            found["answer"] = f"{folded['reward_model']}.ground_truth"
        columns = replace(self, **found)
        if not columns.prompt:
            raise DataError(
                f"Nothing tells what to ask: the columns are {', '.join(present) or 'none'}. "
                "Name one, or write a question: --columns 'prompt=\"What is {name}?\",image=…,answer=…'."
            )
        for name in columns.roles(present):
            if name not in present:
                raise missing_column(name, present)
        return columns

    def _pairs_and_targets(self, found: dict[str, Any], folded: Mapping[str, str]) -> None:
        """What follows for pictures: a captioned one is a target, and numbered ones are a pair only with a verdict."""
        if found.get("chosen", "").lower() in _NUMBERED and not (self.preferred or found.get("preferred")):
            found["preferred"] = folded.get("label", "")
        given = {part: found.get(part) or getattr(self, part) for part in ("chosen", "rejected", "preferred")}
        numbered = given["chosen"].lower() in _NUMBERED and not self.chosen
        if not (given["chosen"] and given["rejected"]) or (numbered and not given["preferred"]):
            found |= {part: "" for part in given if not getattr(self, part)}
        captioned = not self.prompt and found.get("prompt", "").lower() in CAPTIONS
        if captioned and not self.image and not self.target and found.get("image"):
            found |= {"target": found["image"], "image": ""}

    def roles(self, present: Collection[str]) -> dict[str, list[str]]:
        """The columns that the mapping reads, each with the parts it serves."""
        roles: dict[str, list[str]] = {}
        for part, value in self.parts().items():
            for name in reads(value, present, literal=part in LITERAL):
                roles.setdefault(name, []).append(part)
        return roles

    def parts(self) -> dict[str, str]:
        """Every part that is set, the extra ones too; joined media as `image`, `image+2`, …"""
        parts = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "extra"}
        split = {
            part if k == 0 else f"{part}+{k + 1}": piece.strip()
            for part in ("image", "video", "audio")
            for k, piece in enumerate(split_top(parts.pop(part), "+"))
        }
        return {part: value for part, value in {**parts, **split, **dict(self.extra)}.items() if value}


def value_of(text: str, present: Collection[str], *, literal: bool = False) -> Value:
    """Compile one part. `literal`: a text with a blank in it stands for itself."""
    if text in present:
        return lambda row: row.get(text)
    if _is_template(text, literal):
        pieces = _template(text)
        return lambda row: "".join(piece if isinstance(piece, str) else _filled(piece, row) for piece in pieces)
    return selector(text)


def reads(text: str, present: Collection[str], *, literal: bool = False) -> list[str]:
    """The columns that one part reads."""
    if text in present:
        return [text]
    if _is_template(text, literal):
        return [piece.column for piece in _template(text) if not isinstance(piece, str)]
    return [selector(text).column]


LITERAL = ("prompt", "system", "completion")
"""The parts in which a text with a blank in it stands for itself."""


def _is_template(text: str, literal: bool) -> bool:
    return "{" in text or (literal and bool(re.search(r"\s", text.strip())))


def _template(text: str) -> list[Any]:
    """Text and selectors in turn; `{{` and `}}` are braces."""
    pieces: list[Any] = []
    for found in re.finditer(r"\{\{|\}\}|\{([^{}]*)\}|([^{}]+)|([{}])", text):
        if found[3]:
            raise DataError(f"{text!r}: a brace is not closed (write {{{{ or }}}} for a brace itself).")
        if found[1] is not None:
            pieces.append(selector(found[1]))
        else:
            pieces.append(found[2] or found[0][0])
    return pieces


def _filled(piece: Any, row: Mapping[str, Any]) -> str:
    value = piece(row)
    if value is None:
        raise BadRow(f"{{{piece.text}}} is empty (null).")
    return as_text(value)


def _pairs(text: str) -> list[tuple[str, str]]:
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise DataError(f"--columns starts like JSON but is not: {error}") from None
        return [(str(name), str(value)) for name, value in found.items()]
    pairs: list[tuple[str, str]] = []
    for clause in split_top(text, ","):
        name, equals, value = clause.partition("=")
        if equals and re.fullmatch(r"\s*[A-Za-z_][\w-]*\s*", name):
            pairs.append((name.strip(), value))
        elif pairs:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]},{clause}")
        elif clause.strip():
            raise DataError(
                f"--columns wants name=value, not {clause.strip()!r} (such as prompt=question,image=image)."
            )
    return [(name, _unquoted(value.strip())) for name, value in pairs]


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
