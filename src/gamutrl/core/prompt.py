"""One row to answer: typed message parts, the answer, and every other column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, eq=False)
class Part:
    """One piece of a message.

    `kind` is an open set ("text", "image", "video", "audio", …): a policy states which kinds it takes.
    `value` is a `str` for text, a `PIL.Image.Image` for an image, a sequence of `PIL.Image.Image` for a video,
    a float array `[samples]` for audio. `info` holds what a processor may need (`fps`, `sampling_rate`).
    """

    kind: str
    value: Any
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_media(self) -> bool:
        return self.kind != "text"


def text(value: str) -> Part:
    return Part("text", value)


def image(value: Any) -> Part:
    return Part("image", value)


def video(frames: Sequence[Any], fps: float | None = None) -> Part:
    return Part("video", tuple(frames), {} if fps is None else {"fps": fps})


def audio(samples: Any, sampling_rate: int) -> Part:
    return Part("audio", samples, {"sampling_rate": sampling_rate})


@dataclass(frozen=True, eq=False)
class Message:
    """One chat message: a role ("system", "user", "assistant", "tool") and its parts, in order."""

    role: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts, joined; media leave no trace."""
        return "".join(part.value for part in self.parts if part.kind == "text")


@dataclass(frozen=True, eq=False)
class Prompt:
    """One row to answer.

    `columns` holds every column of the row but the messages (the answer too, under its own name, if it had one);
    rewards receive them by name. `pool` marks rows that are scored together and never split over batches or processes.
    `id` names the row in errors and logs: `train.parquet:17`, `digits/train/17`.
    """

    messages: tuple[Message, ...]
    answer: Any = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    pool: str | None = None
    id: str = ""

    @classmethod
    def ask(cls, question: str, /, *media: Part, answer: Any = None, id: str = "", **columns: Any) -> Prompt:
        """A single user message: the media, then the question."""
        return cls((Message("user", (*media, text(question))),), answer, columns, id=id)

    @property
    def media(self) -> list[Part]:
        return [part for message in self.messages for part in message.parts if part.is_media]

    @property
    def text(self) -> str:
        return "\n".join(message.text for message in self.messages)

    def parts(self) -> Iterator[Part]:
        for message in self.messages:
            yield from message.parts


class Source(Protocol):
    """Where prompts come from: a pure function of the draw's number and the seed, so that a run can be resumed."""

    def batch(self, index: int, size: int, seed: int) -> list[Prompt]:
        """The `index`-th draw of `size` prompts, without replacement until all were drawn."""
