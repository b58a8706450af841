"""What lies before the model in one episode, and what a tool may do with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from PIL import Image

from gamutrl.core import Prompt
from gamutrl.environments.crops import Size


class Refusal(ValueError):
    """A call that cannot be carried out. Its message is what the model is told."""


class Seen(NamedTuple):
    """A picture that the model has seen: as it was shown, at its full resolution, and which tool brought it.

    `by` is "" for the prompt's own.
    """

    shown: Image.Image
    full: Image.Image
    by: str = ""


@dataclass(frozen=True, eq=False)
class Shown:
    """What a call brings: words, and pictures with, where it differs, their full resolution.

    info: what a reward or the report may want to know: `box`, where on the full picture it was cut; `picture`, which.
    """

    text: str = ""
    pictures: tuple[Image.Image, ...] = ()
    full: tuple[Image.Image, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Desk:
    """One episode's state: the row, every picture seen so far in order, and what tools remember, by tool."""

    prompt: Prompt
    seed: int
    seen: list[Seen] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, prompt: Prompt, seed: int) -> Desk:
        """The desk at the start, with the prompt's pictures on it."""
        return cls(prompt, seed, [Seen(picture, picture) for picture in pictures_of(prompt)])

    def picture(self, number: int) -> Seen:
        """The picture of a number from 0. Raises Refusal where there is none."""
        if not self.seen:
            raise Refusal("there is no image yet")
        if not 0 <= number < len(self.seen):
            raise Refusal(f"there is no image {number + 1}; there are {len(self.seen)}")
        return self.seen[number]

    def newest(self, *by: str) -> Seen:
        """The picture seen last, of those that these tools brought if any are named. Raises Refusal without one."""
        found = next((seen for seen in reversed(self.seen) if not by or seen.by in by), None)
        if found is None:
            raise Refusal("there is no image yet")
        return found

    def number(self, seen: Seen) -> int:
        """The number of a picture on the desk, from 0."""
        return next(i for i, other in enumerate(self.seen) if other is seen)

    def put(self, shown: Shown, by: str) -> None:
        """Remember the pictures of a call."""
        full = shown.full or shown.pictures
        self.seen += [Seen(picture, source, by) for picture, source in zip(shown.pictures, full, strict=True)]


class Tool(Protocol):
    """Carries out a call. Raises Refusal, saying what is wrong, for one that cannot be."""

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown: ...


def sayable(text: str) -> str:
    """The text as tokenizers and files take it: half a surrogate, which JSON lets a model write, is "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def pictures_of(prompt: Prompt) -> Iterator[Image.Image]:
    """The pictures of a prompt in order; of a clip, its frames."""
    for part in prompt.media:
        if part.kind == "image":
            yield part.value
        elif part.kind == "video":
            yield from part.value


def size_of(desk: Desk, frame: tuple[float, float] | tuple[str, str] | None, shown: Image.Image) -> Size:
    """The size in which coordinates are written: the picture's as shown, one that is given, or two columns' values."""
    if frame is None:
        return shown.size
    width, height = (desk.prompt.columns.get(side) if isinstance(side, str) else side for side in frame)
    if not width or not height:
        raise ValueError(f"Row {desk.prompt.id or '?'} lacks the columns {frame} that give the size of its picture.")
    return float(width), float(height)
