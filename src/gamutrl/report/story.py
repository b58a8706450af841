"""Prompts and rollouts as a reader sees them: text in marked pieces, pictures with boxes, turn after turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from gamutrl.report.pictures import Drawn, Pictures, in_pixels
from gamutrl.rewards.parsing import Detection, boxes_in, detections, numbers
from gamutrl.rewards.tags import tag_texts

MAX_TEXT = 1600
MAX_FRAMES = 12
PIECES = {
    "<think>": "thought",
    "<rethink>": "thought",
    "<info>": "thought",
    "<description>": "thought",
    "<perception>": "thought",
    "<answer>": "answer",
    "<tool_call>": "call",
    "<search>": "call",
    "<bbox>": "call",
    "<box>": "call",
}
STOPS = {
    "answer": "it answered",
    "eos": "it was done",
    "nothing": "a turn asked for nothing",
    "unreadable": "a turn could not be read",
    "failed": "all calls of a turn failed",
    "turns": "its turns were spent",
    "calls": "its calls were spent",
    "pictures": "no more pictures fitted",
    "seconds": "its time was spent",
    "tokens": "its tokens were spent",
    "length": "a turn grew too long",
    "budget": "its budget was spent",
    "error": "a responder failed",
    "goal": "the goal was reached",
    "lost": "it was lost",
}
"""Why a rollout ended, in words."""


@dataclass(frozen=True)
class Piece:
    """A stretch of text that reads as one thing: "plain", "thought", "answer", "call", "tag", "cut" (how much was left
    out)."""

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
    """A rollout for the page. stop: why it ended, in words. path: what it did turn by turn, in a word each."""

    turns: tuple[Turn, ...]
    end: str
    length: int
    rewards: tuple[tuple[str, float | None], ...]
    pictures: tuple[Markup, ...] = ()
    stop: str = ""
    path: tuple[str, ...] = ()

    @property
    def is_story(self) -> bool:
        """Whether something came back to it, so that it is told turn by turn."""
        return len(self.turns) > 1 or any(turn.calls or turn.looks for turn in self.turns)


@dataclass(frozen=True)
class Asking:
    """One call: what of, with what, and why it was refused, if it was."""

    name: str
    arguments: str
    error: str = ""


@dataclass(frozen=True)
class Turn:
    """One turn of a rollout: what the policy wrote and called, where it looked, what came back.

    begun: how its text began, given to it. looks: pictures seen before, with what was looked at drawn on them. caption:
    of the pictures that came back. fresh: whether the turn started anew, with nothing of the turns before but what
    `opening` shows. scores: what the environment itself counted.
    """

    pieces: tuple[Piece, ...]
    calls: tuple[Asking, ...]
    said: tuple[str, ...]
    pictures: tuple[Markup, ...]
    looks: tuple[Markup, ...] = ()
    caption: str = "what came back"
    begun: str = ""
    fresh: bool = False
    opening: tuple[tuple[str, ...], tuple[Markup, ...]] = ((), ())
    scores: tuple[tuple[str, float], ...] = ()

    @property
    def untold(self) -> tuple[Asking, ...]:
        """The calls that the text does not show, and those that were refused."""
        shown = any(piece.kind == "call" for piece in self.pieces)
        return tuple(call for call in self.calls if call.error or not shown)


def pieces(text: str, limit: int = MAX_TEXT) -> tuple[Piece, ...]:
    """A text cut at its tags, at most `limit` characters of it; what follows an opening tag has that tag's kind."""
    shown, kind, found = text[:limit], "plain", []
    at = 0
    if shown.startswith("{") and (actions := shown.find('"actions"')) > 0:  # JSON: a thought, then what to do.
        found, at = [Piece("thought", shown[:actions]), Piece("call", shown[actions:])], len(shown)
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
    made = rollout.get("pictures", ())
    turns, path = [], []
    seen = [part.get("files") or [part.get("file")] for part in _media(prompt)] if prompt else []
    files = [str(file) for some in seen for file in some]
    for turn in rollout.get("turns") or ([] if made else [{"text": rollout.get("text", "")}]):
        info = turn.get("info") or {}
        calls = tuple(_asking(call) for call in turn.get("calls", ()))
        looks = _looks(info, files, pictures)
        said, brought = _parts(turn.get("observation", ()), "what came back", pictures)
        named = ", ".join(str(shown["page"]) for shown in info.get("shown") or () if "page" in shown)
        files += [part["file"] for part in turn.get("observation", ()) if part.get("file")]
        scores = tuple((k, float(info[k])) for k in ("reward", "score") if isinstance(info.get(k), int | float))
        turns.append(
            Turn(
                pieces(turn.get("text", "")),
                calls,
                said,
                brought,
                looks,
                _shortened(named, 60) or "what came back",
                _shortened(str(turn.get("prefill") or ""), 200),
                turn.get("fresh") is not None,
                _parts(turn.get("fresh") or (), "what the turn sees", pictures),
                scores,
            )
        )
        path += [call.name or "unreadable" for call in calls] or (
            ["answer"] if "<answer>" in turn["text"] else ["turn"]
        )
    rewards = tuple((name, value) for name, value in rollout.get("rewards", {}).items())
    shown = (filmstrip(made, pictures),) if len(made) > 1 else tuple(pictures.show(f, (), "what it made") for f in made)
    end = str(rollout.get("end", ""))
    if path and end == "answer":
        path[-1] = "answer"
    stop = str(rollout.get("stop") or end)
    length = int(rollout.get("length", 0))
    return Told(tuple(turns), end, length, rewards, shown, STOPS.get(stop, stop), tuple(path[:12]))


def _parts(
    parts: Sequence[Mapping[str, Any]], note: str, pictures: Pictures
) -> tuple[tuple[str, ...], tuple[Markup, ...]]:
    """The words and the pictures of an observation."""
    said = (part["text"].strip() for part in parts if part.get("kind") == "text")
    shown = tuple(pictures.show(part["file"], (), note) for part in parts if part.get("file"))
    return tuple(_shortened(words, 600) for words in said if words), shown


def _looks(info: Mapping[str, Any], files: Sequence[str], pictures: Pictures) -> tuple[Markup, ...]:
    """Each picture that a turn looked closer at, with the boxes that it asked for, or that mark what it was told."""
    drawn: dict[int, list[Drawn]] = {}
    sizes = info.get("sizes") or []
    for shown in info.get("shown") or ():
        number, box = shown.get("picture"), numbers(shown.get("box") or shown.get("mark"), 4)
        if not isinstance(number, int) or not 0 <= number < len(files) or box is None:
            continue
        full, size = (sizes[number] if number < len(sizes) else None), pictures.size(files[number])
        if size is not None:
            scale = [side / most for side, most in zip(size, full)] if full else [1.0, 1.0]
            drawn.setdefault(number, []).append(Drawn([v * scale[k % 2] for k, v in enumerate(box)], "look"))
    for region in info.get("regions") or ():
        share, size = numbers(region, 4), pictures.size(files[0]) if files else None
        if share is not None and size is not None:
            drawn.setdefault(0, []).append(Drawn([v * size[k % 2] for k, v in enumerate(share)], "look"))
    return tuple(pictures.show(files[number], boxes, "where it looked") for number, boxes in drawn.items())


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


def _media(prompt: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts of a prompt that are pictures or clips."""
    parts = [part for message in prompt["messages"] for part in message["parts"]]
    return [part for part in parts if part.get("file") or part.get("files")]


def _images(prompt: Mapping[str, Any]) -> list[str]:
    return [part["file"] for part in _media(prompt) if part.get("kind") == "image" and part.get("file")]


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


def _asking(call: Mapping[str, Any]) -> Asking:
    arguments = ", ".join(f"{name}: {value}" for name, value in dict(call.get("arguments") or {}).items())
    name = _shortened(str(call.get("name") or ""), 60)
    return Asking(name, _shortened(arguments, 300), _shortened(str(call.get("error") or ""), 300))


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
