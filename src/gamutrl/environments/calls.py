"""Calls of tools in what a model wrote: found in linear time and read as JSON, never run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from gamutrl.environments.desk import sayable
from gamutrl.rewards.parsing import literal, loads
from gamutrl.rewards.tags import Tag, marks

MAX_CHARACTERS = 200_000
"""Nested brackets are matched in this much of a turn."""
MAX_DEPTH = 16
"""Lists and objects of a call's arguments that are nested more deeply are left out."""


class ToolCall(NamedTuple):
    """One call: the tool's name and its arguments by name."""

    name: str
    arguments: dict[str, Any]


def after_last(text: str, tag: Tag = "tool_call") -> str:
    """What follows the last opening mark, up to the next closing one; the text as a whole without an opening mark."""
    opening, closing = marks(tag)
    return text.rpartition(opening)[2].partition(closing)[0].strip()


def as_call(value: Any) -> ToolCall | None:
    """A call from `{"name": …, "arguments": {…}}`; None if it is not one."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments")
    return ToolCall(value["name"], arguments) if isinstance(arguments, dict) else None


def tidy(call: ToolCall) -> ToolCall:
    """The call as tools, tokenizers and logs can take it: half a surrogate is "?", what is nested too deeply None."""
    return ToolCall(_tidy(call.name), {_tidy(name): _tidy(value) for name, value in call.arguments.items()})


def action_list(text: str, key: str = "actions", *, levels: int = 4) -> list[ToolCall] | None:
    """The calls of the first list that follows `"actions":`; None if one of them is none, or the list is empty.

    levels: lists nested more deeply are not read. Source: OpenThinkIMG (2505.08617).
    """
    found = dict(groups(text, "[]", levels))
    for match in re.finditer(rf'"{re.escape(key)}"\s*+:\s*+(?=\[)', text):
        if match.end() in found:
            value = loads(text[match.end() : found[match.end()]])
            calls = [as_call(item) for item in value] if isinstance(value, list) else []
            return None if None in calls else [call for call in calls if call] or None
    return None


def action_answer(text: str) -> str | None:
    """The `ans` of the first of a turn's actions; None if it has none. Source: OpenThinkIMG (2505.08617)."""
    found = action_list(text)
    return str(found[0].arguments["ans"]) if found and "ans" in found[0].arguments else None


def first_group(text: str, brackets: str = "{}", levels: int = 3) -> str | None:
    """The first balanced group of brackets, nested at most so deeply, brackets included."""
    found = min(groups(text, brackets, levels), default=None)
    return None if found is None else text[found[0] : found[1]]


def groups(text: str, brackets: str, levels: int) -> Iterator[tuple[int, int]]:
    """`(start, end)` of the balanced groups that are nested at most so deeply, inner before outer."""
    open_: list[list[int]] = []
    for match in re.finditer(rf"[{re.escape(brackets)}]", text[:MAX_CHARACTERS]):
        if match[0] == brackets[0]:
            open_.append([match.start(), 1])
        elif open_:
            start, height = open_.pop()
            if open_:
                open_[-1][1] = max(open_[-1][1], height + 1)
            if height <= levels:
                yield start, match.end()


def flat_objects(text: str, key: str = "") -> Iterator[dict[str, Any]]:
    """The JSON objects of a text that hold no other objects and a key that begins so, whatever stands around them, one
    by one: who needs the first few does not read the others."""
    found = (loads(match[0]) for match in re.finditer(r"\{[^{}]*\}", text))
    return (value for value in found if isinstance(value, dict) and any(one.startswith(key) for one in value))


def fenced_blocks(text: str, language: str = "json") -> list[str]:
    """The insides of fences whose opening line is exactly "```json", each up to the next "```" or the end."""
    blocks, start = [], None
    position = 0
    for line in text.splitlines(keepends=True):
        position += len(line)
        if start is None:
            start = position if line.strip() == f"```{language}" else None
        elif "```" in line:
            blocks.append(text[start : position - len(line) + line.find("```")])
            start = None
    return blocks if start is None else [*blocks, text[start:]]


def integers_chosen(text: str, choices: int, *, strict: bool = False) -> list[int] | None:
    """The choices `0 … choices - 1` that a comma-separated list names, each once; None if an item is no number.

    strict: an item that is no choice spoils the list, and one named twice stays. Source: VISTA.
    """
    value = [literal(item.strip()) for item in text.split(",")]
    if not all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        return None
    known = [item for item in value if 0 <= item < choices]
    if strict:
        return known if len(known) == len(value) else None
    return list(dict.fromkeys(known)) or None


def _tidy(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return sayable(value)
    if not isinstance(value, list | dict):
        return value
    if depth == MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [_tidy(item, depth + 1) for item in value]
    return {_tidy(key): _tidy(item, depth + 1) for key, item in value.items()}
