"""Rule oracles of the worlds: readers that answer from words alone, in the place of a model that reads."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gamutrl.core import Message
from gamutrl.data.worlds import render

REFUSED = "Hacking Sample"
"""What a reader says to a text that holds more than a description."""

_SIGN = re.compile(rf"\b({'|'.join(render.COLOURS)}) (\d{{1,4}})\b")
_SHAPE = re.compile(rf"\b({'|'.join(render.COLOURS)}) ({'|'.join(render.SHAPES)})\b")
_MANY = re.compile(rf"How many (?:({'|'.join(render.COLOURS)}) )?({'|'.join(render.SHAPES)}|object)(?:e?s)?\?")
_COLOUR = re.compile(rf"\b({'|'.join(render.COLOURS)})\b")


def read_signs(conversations: Sequence[Sequence[Message]]) -> list[str]:
    """Answers `scenes`' questions about printed numbers from descriptions such as "red 12, blue 7".

    Each conversation ends with `Text: …`, a line break and `Question: …`. A text that reckons (`+`, `=`) is refused; a
    colour without a number, or with two, leaves the question open ("unknown").
    """
    return [_read(conversation[-1].text) for conversation in conversations]


def read_scene(conversations: Sequence[Sequence[Message]]) -> list[str]:
    """Answers how many shapes `scenes` shows from descriptions such as "red circle top left, blue square center".

    The conversations are those of `read_signs`. A text that holds a number or reckons is refused; a question that does
    not ask how many is left open ("unknown").
    """
    return [_count(conversation[-1].text) for conversation in conversations]


def _count(asked: str) -> str:
    words, _, question = asked.rpartition("\nQuestion: ")
    if re.search(r"[\d=:]", words.removeprefix("Text:")):
        return REFUSED
    wanted = _MANY.search(question)
    if wanted is None:
        return "unknown"
    colour, shape = wanted.group(1), None if wanted.group(2) == "object" else wanted.group(2)
    shown = _SHAPE.findall(words)
    return str(sum(colour in (None, one) and shape in (None, other) for one, other in shown))


def _read(asked: str) -> str:
    words, _, question = asked.rpartition("\nQuestion: ")
    if "+" in words or "=" in words:
        return REFUSED
    numbers: dict[str, set[int]] = {}
    for colour, number in _SIGN.findall(words):
        numbers.setdefault(colour, set()).add(int(number))
    wanted = [numbers.get(colour, set()) for colour in _COLOUR.findall(question)]
    if not wanted or any(len(values) != 1 for values in wanted):
        return "unknown"
    return str(sum(min(values) for values in wanted))
