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


def read_scene(conversations: Sequence[Sequence[Message]]) -> list[str]:
    """Answers `scenes`' questions from descriptions: of printed numbers from "red 12, blue 7", of how many shapes there
    are from "red circle top left, blue square center".

    Each conversation ends with `Text: …`, a line break and `Question: …`. A text that reckons (`+`, `=`), or that holds
    a number where shapes are to be counted, is refused; a question that the text leaves open is "unknown": a colour
    without a number or with two, or another question.
    """
    asked = [conversation[-1].text.rpartition("\nQuestion: ") for conversation in conversations]
    return [
        (_count if _MANY.search(question) else _number)(words.removeprefix("Text:"), question)
        for words, _, question in asked
    ]


def _count(words: str, question: str) -> str:
    wanted = _MANY.search(question)
    if wanted is None:
        return "unknown"
    if re.search(r"[\d=:]", words):
        return REFUSED
    colour, shape = wanted.group(1), None if wanted.group(2) == "object" else wanted.group(2)
    shown = _SHAPE.findall(words)
    return str(sum(colour in (None, one) and shape in (None, other) for one, other in shown))


def _number(words: str, question: str) -> str:
    if "+" in words or "=" in words:
        return REFUSED
    numbers: dict[str, set[int]] = {}
    for colour, number in _SIGN.findall(words):
        numbers.setdefault(colour, set()).add(int(number))
    wanted = [numbers.get(colour, set()) for colour in _COLOUR.findall(question)]
    if not wanted or any(len(values) != 1 for values in wanted):
        return "unknown"
    return str(sum(min(values) for values in wanted))
