"""Changes of a prompt, each a pure `(prompt, seed) -> prompt`: frames, pictures, parts, words, options.

A change with settings is a frozen dataclass, so that a configuration can hold it:
`Changed(rows, Degraded("blur", 0.5))`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from gamutrl.core import Message, Part, Prompt, text
from gamutrl.data.problems import BadRow
from gamutrl.data.selectors import as_text

Change = Callable[[Prompt, int], Prompt]


def asking(change: Change) -> Change:
    """Marks a change that only puts a system's words around a question: rows of other data take it, too."""
    change.asks = True  # type: ignore[attr-defined]
    return change


def shuffle_frames(prompt: Prompt, seed: int) -> Prompt:
    """The frames of every video in a random order, which is not the true one where frames can be told apart (video-r1).

    A prompt without a video comes back as it is.
    """
    rng = np.random.default_rng(seed)

    def shuffled(part: Part) -> Part:
        if part.kind != "video" or len(part.value) < 2:
            return part
        order = rng.permutation(len(part.value))
        while (order == np.arange(len(order))).all():
            order = rng.permutation(len(order))
        return replace(part, value=tuple(part.value[k] for k in order))

    return over_media(prompt, shuffled)


@dataclass(frozen=True)
class NoisyFrames:
    """Gaussian noise on every pixel of pictures and frames; `strength` is its deviation as a share of white (0-1)."""

    strength: float = 0.1

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        rng = np.random.default_rng(seed)
        return over_pictures(prompt, lambda picture: _noisy(picture, self.strength, rng))


@dataclass(frozen=True)
class DropPart:
    """Every part of a kind left out ("audio", "image", …): the question without what it is about."""

    kind: str

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        messages = tuple(
            replace(message, parts=tuple(part for part in message.parts if part.kind != self.kind))
            for message in prompt.messages
        )
        return replace(prompt, messages=messages)


Kind = Literal["blur", "noise", "jpeg", "pixelate", "dark", "contrast", "grey"]


@dataclass(frozen=True)
class Degraded:
    """Pictures and frames made worse. `strength` 0 leaves them as they are, 1 is barely readable."""

    kind: Kind = "blur"
    strength: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in _DEGRADE:
            raise ValueError(f"Pictures can be degraded by {', '.join(_DEGRADE)}, not {self.kind!r}.")
        if not 0 <= self.strength <= 1:
            raise ValueError(f"The strength of a degradation is from 0 to 1, not {self.strength}.")

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        if not self.strength:
            return prompt
        rng = np.random.default_rng(seed)
        return over_pictures(prompt, lambda picture: _DEGRADE[self.kind](picture, self.strength, rng))


@dataclass(frozen=True)
class Mirrored:
    """The row seen in a mirror: media flipped, left and right exchanged in words, boxes turned over (svqa-r1).

    words: exchange left and right in the text, the answer and text columns. boxes: columns of boxes
    `[x1, y1, x2, y2, …]` in pixels of the first picture ("answer" for the answer itself).
    """

    words: bool = True
    boxes: tuple[str, ...] = ()

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        width = next((_width(part) for part in prompt.media if part.kind in ("image", "video")), None)
        if self.boxes and width is None:
            raise BadRow(f"Row {prompt.id or '?'} has no picture to turn its boxes over in.")

        def turned(name: str, value: Any) -> Any:
            if name in self.boxes:
                return _turned_boxes(value, width or 0)
            return _exchanged(value) if self.words and isinstance(value, str) else value

        def part(part: Part) -> Part:
            return replace(part, value=turned("", part.value)) if part.kind == "text" else part

        flipped = over_pictures(prompt, ImageOps.mirror)
        messages = tuple(replace(message, parts=tuple(map(part, message.parts))) for message in flipped.messages)
        columns = {name: turned(name, value) for name, value in prompt.columns.items()}
        return replace(flipped, messages=messages, columns=columns, answer=turned("answer", prompt.answer))


@dataclass(frozen=True)
class Hinted:
    """A hint after the question: `text`, with `{column}` filled from the row ("answer" too) (deepvideo-r1)."""

    text: str

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        values = {**prompt.columns, "answer": prompt.answer}
        return _at_question(prompt, after="\n" + _filled(self.text, values, prompt))


@dataclass(frozen=True)
class WithPrefix:
    """A text before every question's words (media stay in front)."""

    text: str
    asks = True

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        return _at_question(prompt, before=self.text)


@dataclass(frozen=True)
class WithSuffix:
    """A text after every question: a format hint."""

    text: str
    asks = True

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        return _at_question(prompt, after=self.text)


@dataclass(frozen=True)
class WithSystem:
    """A system message in front, in place of one that is there."""

    text: str
    asks = True

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        rest = tuple(message for message in prompt.messages if message.role != "system")
        return replace(prompt, messages=(Message("system", (text(self.text),)), *rest))


@dataclass(frozen=True)
class OptionsFrom:
    """An open question to a choice: `count` wrong answers drawn from a column and the right one, shuffled and lettered.

    The answer becomes the letter; the columns `options`, `choice` (the letter) and `answer_text` are added
    (seed-bench-r1).
    """

    negatives: str = "negative_answers"
    count: int = 3

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        wrong = [as_text(value) for value in prompt.columns.get(self.negatives) or ()]
        right = as_text(prompt.answer)
        wrong = [value for value in dict.fromkeys(wrong) if value != right]
        if not wrong:
            raise BadRow(f"Row {prompt.id or '?'} has no wrong answer in {self.negatives!r} to make options of.")
        rng = np.random.default_rng(seed)
        chosen = [wrong[k] for k in rng.permutation(len(wrong))[: min(self.count, 25)]]
        options = [[*chosen, right][k] for k in rng.permutation(len(chosen) + 1)]
        letter = ascii_uppercase[options.index(right)]
        columns = {**prompt.columns, "options": options, "choice": letter, "answer_text": right}
        return replace(_at_question(prompt, after=f"\n{lettered(options)}"), answer=letter, columns=columns)


@dataclass(frozen=True)
class Negated:
    """With probability `share`, a question with one right option asks for the wrong ones (tw-grpo).

    `options` names the column of option texts, which stand below the question as lettered lines; see `negated` for the
    words. The right option is kept with a random number of the wrong ones, shuffled and lettered anew; the answer is
    the letters of the wrong ones ("A,C").
    """

    options: str = "options"
    share: float = 0.5

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        rng = np.random.default_rng(seed)
        if rng.random() >= self.share:
            return prompt
        options = [as_text(option) for option in prompt.columns.get(self.options) or ()]
        letter = as_text(prompt.answer).strip()
        if len(options) < 2 or len(letter) != 1 or letter not in ascii_uppercase[: len(options)]:
            raise BadRow(f"Row {prompt.id or '?'} has no {self.options!r} with one right letter to negate.")
        right = options[ascii_uppercase.index(letter)]
        wrong = [option for option in options if option != right]
        kept = [wrong[k] for k in rng.permutation(len(wrong))[: rng.integers(1, len(wrong) + 1)]]
        shown = [[*kept, right][k] for k in rng.permutation(len(kept) + 1)]
        answer = ",".join(ascii_uppercase[k] for k, option in enumerate(shown) if option != right)
        old, new = lettered(options), lettered(shown)
        columns = {**prompt.columns, self.options: shown, "negated": True}
        return replace(
            _over_question(prompt, lambda words: negated(words.replace(old, "").rstrip()) + f"\n{new}"),
            answer=answer,
            columns=columns,
        )


def negated(question: str, otherwise: str = "which is not an answer to: ") -> str:
    """The question turned into its opposite, in lower case: "What did he eat?" to "what didn't he eat?" (tw-grpo).

    Only an auxiliary in second place can be negated; a question without one has `otherwise` put in front. The released
    code puts nothing there (`otherwise=""`), so that such a question contradicts its inverted answers.
    """
    words = question.lower().split()
    if len(words) > 1 and words[1] in _AUXILIARIES:
        return " ".join([words[0], f"{words[1]}n't", *words[2:]])
    return otherwise + question.lower()


def lettered(options: Sequence[str]) -> str:
    """`A. …` lines."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options))


def over_media(prompt: Prompt, change: Callable[[Part], Part]) -> Prompt:
    """The prompt with every medium changed."""
    messages = tuple(
        replace(message, parts=tuple(change(part) if part.is_media else part for part in message.parts))
        for message in prompt.messages
    )
    return replace(prompt, messages=messages)


def over_pictures(prompt: Prompt, change: Callable[[Image.Image], Image.Image]) -> Prompt:
    """The prompt with every picture and frame changed."""

    def changed(part: Part) -> Part:
        if part.kind == "image":
            return replace(part, value=change(part.value))
        return replace(part, value=tuple(map(change, part.value))) if part.kind == "video" else part

    return over_media(prompt, changed)


_AUXILIARIES = ("did", "does", "do", "is", "are", "was", "were")
_SIDES = {"left": "right", "right": "left"}


def _noisy(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(picture, dtype=np.float32)
    pixels = pixels + rng.normal(0, 255 * strength, pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _blurred(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(strength * max(picture.size) / 16))


def _compressed(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=max(1, round(95 - 94 * strength)))
    return Image.open(out).convert("RGB")


def _pixelated(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    small = [max(1, round(side / (1 + 15 * strength))) for side in picture.size]
    return picture.resize((small[0], small[1]), Image.Resampling.BOX).resize(picture.size, Image.Resampling.NEAREST)


_DEGRADE: Mapping[str, Callable[[Image.Image, float, np.random.Generator], Image.Image]] = {
    "blur": _blurred,
    "noise": _noisy,
    "jpeg": _compressed,
    "pixelate": _pixelated,
    "dark": lambda picture, strength, rng: ImageEnhance.Brightness(picture).enhance(1 - 0.95 * strength),
    "contrast": lambda picture, strength, rng: ImageEnhance.Contrast(picture).enhance(1 - 0.95 * strength),
    "grey": lambda picture, strength, rng: ImageEnhance.Color(picture).enhance(1 - strength),
}


def _width(part: Part) -> int:
    return (part.value if part.kind == "image" else part.value[0]).width


def _turned_boxes(value: Any, width: float) -> Any:
    if isinstance(value, list | tuple) and value and all(isinstance(edge, int | float) for edge in value[:4]):
        x1, y1, x2, y2, *rest = value
        return [width - x2, y1, width - x1, y2, *rest]
    return [_turned_boxes(box, width) for box in value] if isinstance(value, list | tuple) else value


def _exchanged(words: str) -> str:
    """Left for right and right for left, whole words, in whatever case they stand; also left-most and the like."""

    def other(found: re.Match[str]) -> str:
        word = _SIDES[found[1].lower()]
        cased = word.upper() if found[1].isupper() else word.capitalize() if found[1][0].isupper() else word
        return cased + found[2]

    return re.sub(r"\b(left|right)((?:most|ward|wards|-most)?)\b", other, words, flags=re.IGNORECASE)


def _at_question(prompt: Prompt, before: str = "", after: str = "") -> Prompt:
    """Text put before the first words, or after the last, of the last user message."""
    place = _question(prompt)
    parts = list(prompt.messages[place].parts)
    spoken = [k for k, part in enumerate(parts) if part.kind == "text"]
    if not spoken:
        parts.append(text(before + after))
    else:
        parts[spoken[0]] = replace(parts[spoken[0]], value=before + parts[spoken[0]].value)
        parts[spoken[-1]] = replace(parts[spoken[-1]], value=parts[spoken[-1]].value + after)
    return _with_message(prompt, place, parts)


def _over_question(prompt: Prompt, change: Callable[[str], str]) -> Prompt:
    """The last words of the last user message, changed."""
    place = _question(prompt)
    parts = list(prompt.messages[place].parts)
    last = max((k for k, part in enumerate(parts) if part.kind == "text"), default=None)
    if last is None:
        raise BadRow(f"Row {prompt.id or '?'} has no words to change.")
    parts[last] = replace(parts[last], value=change(parts[last].value))
    return _with_message(prompt, place, parts)


def _question(prompt: Prompt) -> int:
    return max((k for k, message in enumerate(prompt.messages) if message.role == "user"), default=0)


def _with_message(prompt: Prompt, place: int, parts: Sequence[Part]) -> Prompt:
    messages = list(prompt.messages)
    messages[place] = replace(messages[place], parts=tuple(parts))
    return replace(prompt, messages=tuple(messages))


def _filled(template: str, values: Mapping[str, Any], prompt: Prompt) -> str:
    def value(found: re.Match[str]) -> str:
        if values.get(found[1]) is None:
            raise BadRow(f"Row {prompt.id or '?'} has no {found[1]!r} to hint with.")
        return as_text(values[found[1]])

    return re.sub(r"\{(\w+)\}", value, template)
