"""Prompts and rollouts as a reader sees them: text in marked pieces, pictures with boxes, turn after turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from gamutrl.report.pictures import Drawn, Pictures, in_pixels
from gamutrl.rewards.parsing import Detection, boxes_in, detections
from gamutrl.rewards.tags import tag_texts

MAX_TEXT = 1600
MAX_FRAMES = 12
PIECES = {"<think>": "thought", "<answer>": "answer", "<info>": "thought", "<description>": "thought"}


@dataclass(frozen=True)
class Piece:
    """A stretch of text that reads as one thing: "plain", "thought", "answer", "tag", "cut" (how much was left out)."""

    kind: str
    text: str


@dataclass(frozen=True)
class Asked:
    """A prompt for the page: what was said by whom, with its pictures, and the true answer."""

    id: str
    pictures: tuple[Markup, ...]
    lines: tuple[tuple[str, str], ...]
    answer: str


@dataclass(frozen=True)
class Told:
    """A rollout for the page."""

    turns: tuple[Turn, ...]
    end: str
    length: int
    rewards: tuple[tuple[str, float | None], ...]
    pictures: tuple[Markup, ...] = ()


@dataclass(frozen=True)
class Turn:
    """One turn of a rollout: what the policy wrote, what it called, what came back."""

    pieces: tuple[Piece, ...]
    calls: tuple[str, ...]
    said: tuple[str, ...]
    pictures: tuple[Markup, ...]


def pieces(text: str, limit: int = MAX_TEXT) -> tuple[Piece, ...]:
    """A text cut at its tags, at most `limit` characters of it; what follows an opening tag has that tag's kind."""
    shown, kind, found = text[:limit], "plain", []
    at = 0
    while at < len(shown):
        start = shown.find("<", at)
        end = shown.find(">", start) + 1 if start >= 0 else 0
        if start < 0 or end <= 0:
            found.append(Piece(kind, shown[at:]))
            break
        tag = shown[start:end]
        opens, closes = tag in PIECES, tag.startswith("</") and f"<{tag[2:]}" in PIECES
        if not (opens or closes):
            found.append(Piece(kind, shown[at : start + 1]))
            at = start + 1
            continue
        if start > at:
            found.append(Piece(kind, shown[at:start]))
        found.append(Piece("tag", tag))
        kind, at = PIECES[tag] if opens else "plain", end
    if len(text) > limit:
        found.append(Piece("cut", f" … {len(text) - limit:,} more characters"))
    return tuple(_joined(found))


def asked(prompt: Mapping[str, Any], pictures: Pictures, guesses: Sequence[Detection] = ()) -> Asked:
    """A prompt as it was described in the run directory; boxes are drawn where the row has true ones."""
    media = [part for message in prompt["messages"] for part in message["parts"]]
    images = _images(prompt)
    drawn = _drawn(images[0], true_boxes(prompt), guesses, pictures) if draws_boxes(prompt) else []
    shown = [pictures.show(file, drawn, "a picture of the prompt") for file in images[:MAX_FRAMES]]
    for part in media:
        if part.get("kind") == "video":
            shown.append(filmstrip(part.get("files", []), pictures))
    lines = []
    for message in prompt["messages"]:
        text = "".join(part.get("text", "") for part in message["parts"] if part.get("kind") == "text")
        if text.strip():
            lines.append((str(message["role"]), _shortened(text)))
    answer = prompt.get("answer")
    return Asked(
        str(prompt.get("id", "")), tuple(shown), tuple(lines), "" if answer is None else _shortened(str(answer), 400)
    )


def told(rollout: Mapping[str, Any], pictures: Pictures, prompt: Mapping[str, Any] | None = None) -> Told:
    """A rollout as it was described in the run directory. prompt: its row, on whose pictures looks are drawn."""
    turns = []
    made = rollout.get("pictures", ())
    for turn in rollout.get("turns") or ([] if made else [{"text": rollout.get("text", "")}]):
        calls = tuple(_call(call) for call in turn.get("calls", ()))
        seen = turn.get("observation", ())
        said = tuple(_shortened(part["text"], 600) for part in seen if part.get("kind") == "text")
        shown = tuple(
            pictures.show(part["file"], (), "what came back")
            for part in seen
            if part.get("kind") == "image" and part.get("file")
        )
        turns.append(Turn(pieces(turn.get("text", "")), calls, said, shown))
    rewards = tuple((name, value) for name, value in rollout.get("rewards", {}).items())
    shown = (filmstrip(made, pictures),) if len(made) > 1 else tuple(pictures.show(f, (), "what it made") for f in made)
    return Told(tuple(turns), str(rollout.get("end", "")), int(rollout.get("length", 0)), rewards, shown)


def filmstrip(files: Sequence[str], pictures: Pictures) -> Markup:
    """The frames of a clip side by side."""
    step = max(1, -(-len(files) // MAX_FRAMES))
    frames = Markup("").join(pictures.show(file, (), "a frame") for file in files[::step])
    return Markup(f'<span class="film">{frames}</span>')


def draws_boxes(prompt: Mapping[str, Any]) -> bool:
    """Whether a row has boxes and one picture to draw them on."""
    return len(_images(prompt)) == 1 and bool(true_boxes(prompt))


def true_boxes(prompt: Mapping[str, Any]) -> list[Detection]:
    """The boxes that a row says are right: its column of boxes, or its answer where that reads as boxes."""
    columns = prompt.get("columns", {})
    for name in ("boxes", "bboxes", "box", "bbox"):
        if found := detections(columns.get(name)):
            return found
    found = detections(prompt.get("answer"))
    return found if all(d.box[2] > d.box[0] and d.box[3] > d.box[1] for d in found) else []


def guessed_boxes(rollout: Mapping[str, Any]) -> list[Detection]:
    """The boxes that a rollout gives as its last answer."""
    text = str(rollout.get("text", ""))
    answers = list(tag_texts(text))
    return boxes_in(answers[-1] if answers else text)[:40]


def _images(prompt: Mapping[str, Any]) -> list[str]:
    parts = [part for message in prompt["messages"] for part in message["parts"]]
    return [part["file"] for part in parts if part.get("kind") == "image" and part.get("file")]


def _drawn(file: str, true: Sequence[Detection], guesses: Sequence[Detection], pictures: Pictures) -> list[Drawn]:
    size = pictures.size(file)
    if not true or size is None:
        return []
    return [
        Drawn(box, kind, _caption(kind, detection))
        for kind, found in (("truth", true), ("guess", guesses))
        for box, detection in zip(in_pixels([d.box for d in found], size), found)
    ]


def _caption(kind: str, detection: Detection) -> str:
    score = f" {detection.score:.2f}" if detection.score is not None else ""
    return f"{'true' if kind == 'truth' else 'predicted'}: {detection.label or 'box'}{score}"


def _call(call: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in dict(call.get("arguments") or {}).items())
    error = f" → {call['error']}" if call.get("error") else ""
    return _shortened(f"{call.get('name', '')}({arguments}){error}", 300)


def _joined(found: Sequence[Piece]) -> Iterator[Piece]:
    last: Piece | None = None
    for piece in found:
        if last is not None and last.kind == piece.kind and piece.kind != "tag":
            last = Piece(last.kind, last.text + piece.text)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def _shortened(text: str, limit: int = MAX_TEXT) -> str:
    return text if len(text) <= limit else f"{text[:limit]} … {len(text) - limit:,} more characters"
