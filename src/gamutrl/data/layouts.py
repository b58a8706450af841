"""A row as a data set has it to a prompt: chats with typed parts, ShareGPT turns, flat columns.

The media of such a prompt are still what the row held (a path, bytes, …); `decode` opens them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gamutrl.core import Message, Part, Prompt, text
from gamutrl.data.asked import Asked
from gamutrl.data.columns import LITERAL, Columns, value_of
from gamutrl.data.media import IMAGE_SUFFIXES, MediaOptions, decode_image, located
from gamutrl.data.problems import BadRow
from gamutrl.data.selectors import as_text
from gamutrl.data.video import decode_audio, decode_video

Reader = Callable[[Mapping[str, Any]], Prompt]
"""A raw row to a prompt whose media are not yet opened. Raises `BadRow`."""

_MEDIA = ("image", "video", "audio")
_PICTURES = ("target", "chosen", "rejected")
"""Parts that are pictures beside the prompt, in its columns."""

_MARKER = re.compile(r"<(image|video|audio)>")
_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "model": "assistant",
    "chatgpt": "assistant", "bot": "assistant", "system": "system", "developer": "system", "tool": "tool",
    "observation": "tool", "function": "tool", "function_response": "tool",
}  # fmt: skip


def reader(columns: Columns, present: Collection[str], heavy: Collection[str] = ()) -> Reader:
    """Compile a mapping for data with these columns.

    A conversation that ends with the assistant is asked up to there; what the assistant said is the `completion`
    column, and the answer where no column holds one. `Prompt.columns` has the row's other columns, the `extra` ones,
    the completion, and `target`, `chosen`, `rejected` (pictures or texts, in that order of liking; `tie` where neither
    is); columns of bytes (`heavy`) are left out, because rewards and logs have no use for them.
    """
    columns = columns.resolved(present)
    parts = {name: value_of(value, present, literal=name in LITERAL) for name, value in columns.parts().items()}
    extra = [name for name, _ in columns.extra]
    media = {
        kind: [value for name, value in parts.items() if name.partition("+")[0] == kind]
        for kind in _MEDIA
        if getattr(columns, kind)
    }
    named = {column for kind in (*_MEDIA, *_PICTURES) for column in getattr(columns, kind).split("+")}
    hidden = ({column.strip() for column in named} & set(present)) | set(heavy)

    def read(row: Mapping[str, Any]) -> Prompt:
        found = {
            kind: [item for value in values for item in _items(kind, value(row))] for kind, values in media.items()
        }
        asked = parts["prompt"](row)
        turns = _turns(asked)
        messages = [("user", _question(asked))] if turns is None else _conversation(turns)
        if "system" in parts:
            messages = [("system", as_text(parts["system"](row))), *messages]
        hide = hidden if turns is None else hidden | {columns.prompt}
        values = {name: value for name, value in row.items() if name not in hide}
        values |= {name: parts[name](row) for name in extra}
        if "completion" in parts:
            values["completion"] = _said(parts["completion"](row))
        elif messages[-1][0] == "assistant" and len(messages) > 1:
            values["completion"] = _plain(messages[-1][1])
            messages = messages[:-1]
        values |= {name: _pictured(name, parts[name](row)) for name in _PICTURES if name in parts}
        if "preferred" in parts:
            values |= _ordered(values, parts["preferred"](row))
        _check_asked(values)
        if not any(role in ("user", "tool") for role, _ in messages):
            raise BadRow("nobody asks in the conversation: it has no user message.")
        answer = parts["answer"](row) if "answer" in parts else values.get("completion")
        return Prompt(_placed(messages, found), answer, values)

    return read


def decode(prompt: Prompt, root: Path, options: MediaOptions) -> Prompt:
    """The prompt with its media opened. Raises `BadRow` naming the medium that cannot be."""
    columns = {
        name: _opened(value, root, options).value if isinstance(value, Part) else value
        for name, value in prompt.columns.items()
    }
    return _over_media(replace(prompt, columns=columns), lambda part: _opened(part, root, options))


def check_media(prompt: Prompt, root: Path, options: MediaOptions) -> None:
    """What can be said of media before they are opened: files are there, http is allowed. Raises `BadRow`."""
    for part in (*prompt.media, *(value for value in prompt.columns.values() if isinstance(value, Part))):
        for value in part.value if isinstance(part.value, list | tuple) else (part.value,):
            if isinstance(value, Mapping):
                value = value.get("path") if not value.get("bytes") and not value.get("array") else None
            if isinstance(value, str) and not value.startswith(("data:", "http://", "https://")):
                located(value.removeprefix("file://"), root, options)
            elif isinstance(value, str) and value.startswith("http") and not options.allow_http:
                raise BadRow(f"{value[:100]} is on the net, which is not read by default (--allow-http allows it).")


def _opened(part: Part, root: Path, options: MediaOptions) -> Part:
    if part.kind == "image":
        return replace(part, value=decode_image(part.value, root, options))
    if part.kind == "video":
        opened = decode_video(part.value, root, options)
        return replace(opened, info={**opened.info, **part.info})
    if part.kind == "audio":
        opened = decode_audio(part.value, root, options)
        return replace(opened, info={**opened.info, **part.info})
    raise BadRow(f"parts of kind {part.kind!r} cannot be read from data; known are text, image, video and audio.")


def _over_media(prompt: Prompt, change: Callable[[Part], Part]) -> Prompt:
    messages = tuple(
        replace(message, parts=tuple(change(part) if part.is_media else part for part in message.parts))
        for message in prompt.messages
    )
    return replace(prompt, messages=messages)


# Media of a row


def _items(kind: str, value: Any) -> list[Any]:
    """A media column's value as its media: a list is several, except that a list of frames is one video."""
    if value is None or (isinstance(value, str) and not value):
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
    if not isinstance(value, list | tuple):
        return [value]
    if kind == "video":
        return list(value) if value and _are_videos(value) else [list(value)] if value else []
    if kind == "image" and value and isinstance(value[0], list) and _is_numbers(value[0]):
        return [np.asarray(value)]
    if any(item is None for item in value):
        raise BadRow(f"the {kind} list has an empty (null) item.")
    return list(value)


def _are_videos(values: Sequence[Any]) -> bool:
    """Whether a list is of videos (lists, video files) and not of one video's frames."""
    first = values[0]
    if isinstance(first, Mapping):
        first = first.get("path") or first.get("frames") or ""
    if isinstance(first, str):
        return first.lower().rpartition(".")[2] in {"mp4", "mkv", "webm", "avi", "mov", "m4v", "gif", "mpg", "mpeg"}
    return isinstance(first, list | tuple)


def _is_numbers(value: Any) -> bool:
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, int | float)


# Pictures beside the prompt, and what it asks of them


def _pictured(name: str, value: Any) -> Any:
    """A picture as a part that is yet to be opened; texts and chats as they are. Raises `BadRow` for nothing."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRow(f"the column of {name!r} is empty.")
    if isinstance(value, str):
        named = value.lower().endswith(IMAGE_SUFFIXES) and len(value) < 4096 and "\n" not in value
        return Part("image", value) if named or value.startswith("data:image/") else value
    is_text = isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping | str)
    return value if is_text else Part("image", value)


def _ordered(values: Mapping[str, Any], preferred: Any) -> dict[str, Any]:
    """The chosen and the rejected of a pair, by the number of the better one."""
    said = str(preferred).strip().lower()
    number = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0, "0.5": 0.5, "tie": 0.5}.get(said)
    if number is None or "chosen" not in values or "rejected" not in values:
        raise BadRow(f"which of two is preferred must be 0, 1 or 0.5 (a tie), not {preferred!r}.")
    pair = [values["chosen"], values["rejected"]]
    chosen, rejected = pair[::-1] if number == 1 else pair
    return {"chosen": chosen, "rejected": rejected, "tie": number == 0.5}


def _check_asked(values: Mapping[str, Any]) -> None:
    """What a prompt asks of a picture must fit together, where a row says so in GenEval's columns."""
    if "objects" in values and not values.keys().isdisjoint(("counts", "colors")):
        try:
            Asked.of(values)
        except ValueError as error:
            raise BadRow(str(error)) from None


# Text and conversations

Content = list[Part]


def _question(value: Any) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRow("the prompt is empty.")
    return as_text(value)


def _said(value: Any) -> str:
    turns = _turns(value)
    return as_text(value) if turns is None else _plain(_conversation(turns)[-1][1])


def _plain(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.value for part in content if part.kind == "text")


def _turns(value: Any) -> list[Any] | None:
    """A chat's turns: a list of structs, a struct of lists (as older data sets store it), or JSON text; else None."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping) and any(isinstance(value.get(key), list) for key in ("role", "from")):
        value = [dict(zip(value, turn)) for turn in zip(*value.values())]
    first = value[0] if isinstance(value, list | tuple) and value else None
    return list(value) if isinstance(first, Mapping) and ("role" in first or "from" in first) else None


def _conversation(turns: Sequence[Any]) -> list[tuple[str, str | Content]]:
    """A chat (`role`/`content`, `from`/`value`) as roles and contents."""
    messages: list[tuple[str, str | Content]] = []
    for k, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise BadRow(f"message {k} of the conversation is a {type(turn).__name__}, not an object.")
        said = turn.get("role") or turn.get("from")
        role = _ROLES.get(str(said).lower())
        if role is None:
            raise BadRow(f"message {k} of the conversation has the unknown role {said!r}.")
        body = turn.get("content") if turn.get("content") is not None else turn.get("value")
        if isinstance(body, list | tuple):
            messages.append((role, [part for item in body for part in _typed(item, k)]))
        else:
            messages.append((role, as_text(body)))
    return messages


def _typed(item: Any, k: int) -> Iterator[Part]:
    """One item of a content list, in OpenAI's or TRL's form. A medium without a value is taken from the columns."""
    if isinstance(item, str):
        yield text(item)
        return
    if not isinstance(item, Mapping):
        raise BadRow(f"message {k}: a {type(item).__name__} stands where a typed part was expected.")
    kind = str(item.get("type") or next((name for name in ("text", *_MEDIA) if item.get(name) is not None), ""))
    kind = kind.removeprefix("input_").removesuffix("_url")
    if kind in ("text", "output_text"):
        yield text(as_text(item.get("text") if item.get("text") is not None else item.get("content")))
        return
    names = (kind, f"{kind}_url", "url", "path", "bytes", "data", "base64", "value", "source")
    value = next((item[name] for name in names if item.get(name) is not None), None)
    info = item.get("info")
    if isinstance(info, str):
        info = json.loads(info)
    yield Part(kind, value, info or {key: item[key] for key in ("fps",) if item.get(key) is not None})


def _placed(messages: Sequence[tuple[str, str | Content]], found: Mapping[str, Sequence[Any]]) -> tuple[Message, ...]:
    """The messages with the columns' media put where markers or empty parts ask for them, or else in front."""
    bodies = [
        (
            role,
            list(_marked(body, found)) if isinstance(body, str) else [p for part in body for p in _marked(part, found)],
        )
        for role, body in messages
    ]
    asked = {
        kind: sum(part.kind == kind and part.value is None for _, body in bodies for part in body) for kind in _MEDIA
    }
    front: Content = []
    for kind, values in found.items():
        if not asked[kind]:
            held = any(part.kind == kind for _, body in bodies for part in body)
            front += [] if held else [Part(kind, value) for value in values]
        elif asked[kind] != len(values):
            raise BadRow(f"the text has places for {asked[kind]} {kind} parts, but the row has {len(values)}.")
    waiting = {kind: iter(values) for kind, values in found.items()}
    first = next((i for i, (role, _) in enumerate(bodies) if role == "user"), 0)
    placed = []
    for i, (role, body) in enumerate(bodies):
        parts = [_filled(part, waiting) for part in body]
        placed.append(Message(role, tuple((*front, *parts) if i == first else parts)))
    return tuple(placed)


def _marked(body: str | Part, found: Mapping[str, Sequence[Any]]) -> Iterator[Part]:
    """Text split at `<image>` and its like; only for kinds that columns bring (text about HTML has <video> too)."""
    if isinstance(body, Part) and body.kind != "text":
        yield body
        return
    words = body if isinstance(body, str) else body.value
    start = 0
    for marker in _MARKER.finditer(words):
        if marker[1] not in found:
            continue
        if words[start : marker.start()].strip("\n"):
            yield text(words[start : marker.start()])
        yield Part(marker[1], None)
        start = marker.end()
    rest = words[start:]
    if start:
        rest = rest.removeprefix("\n")
    if rest or not start:
        yield text(rest)


def _filled(part: Part, waiting: Mapping[str, Iterator[Any]]) -> Part:
    if part.kind not in _MEDIA or part.value is not None:
        return part
    value = next(waiting.get(part.kind, iter(())), None)
    if value is None:
        raise BadRow(f"the conversation has a place for {part.kind}, but the row has none.")
    return replace(part, value=value)
