"""Paths into a row's values: `objects[color=yellow][0].xyxy`, `count(objects)`, `label ? yes : no`.

A small language, read by hand and never evaluated as code:

    column                    the column's value, its type kept
    column.key, column[0]     a member of a struct or a list (negative numbers count from the end)
    column[*].key             that member of every item, as a list
    column[key=value, …]      the items whose members compare so (=, !=, <, >, <=, >=; text ignores case)
    count(path)               how many items; any(path): whether there is one (bool); json(path): text decoded as JSON
    path ? yes : no           one word or another, by whether the value is true

A column that holds JSON as text is decoded where a path steps into it, or where it is counted.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gamutrl.data.problems import BadRow, DataError

_NAME = re.compile(r"\w[\w-]*")
_CALL = re.compile(r"(count|any|json)\s*\(")
_SIGN = re.compile(r"!=|<=|>=|=|<|>")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}

_LONGEST = 1000

Step = Callable[[Any], Any]


@dataclass(frozen=True)
class Selector:
    """A compiled path. `column` is the one column it reads; calling it with a row gives the value.

    Raises `BadRow` where the row's value does not have what the path asks for.
    """

    text: str
    column: str
    steps: tuple[Step, ...]

    def __call__(self, row: Mapping[str, Any]) -> Any:
        value = row.get(self.column)
        try:
            for step in self.steps:
                value = step(value)
        except BadRow as bad:
            raise BadRow(f"{self.text}: {bad}") from None
        return value


@lru_cache(maxsize=1024)
def selector(text: str) -> Selector:
    """Compile a path. Raises `DataError` saying what could not be read."""
    if len(text) > _LONGEST:
        raise DataError(f"A path of {len(text)} characters is refused; {_LONGEST} are allowed.")
    path, question, words = _split_outside(text.strip(), "?")
    if question:
        yes, colon, no = (part.strip() for part in words.partition(":"))
        if not (yes and colon and no):
            raise DataError(f"{text!r}: after ? write the word for true, a colon, and the word for false.")
        inner = selector(path)
        return Selector(text, inner.column, (*inner.steps, lambda value: yes if _truth(value) else no))
    call = _CALL.match(path.strip())
    if call:
        body = path.strip()
        if not body.endswith(")"):
            raise DataError(f"{text!r}: the bracket after {call[1]} is not closed.")
        inner = selector(body[call.end() : -1])
        return Selector(text, inner.column, (*inner.steps, _FUNCTIONS[call[1]]))
    return _path(path.strip(), text)


@dataclass(frozen=True)
class Condition:
    """Comparisons that must all hold: a path, a sign and what it is compared with. `columns` are those it reads."""

    tests: tuple[tuple[Selector, str, str], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(path.column for path, _, _ in self.tests)

    def __call__(self, item: Any) -> bool:
        if not isinstance(item, Mapping):
            return False
        return all(_compares(path(item), sign, literal) for path, sign, literal in self.tests)


def condition(text: str) -> Condition:
    """`color=yellow, count(parts)>0`: a test of a struct or row.

    Numbers compare as numbers, true and false as truth values, everything else as text without regard to case. A value
    that cannot be compared (a missing member, a word with <) is simply not equal, and neither less nor greater.
    """
    tests = []
    for clause in split_top(text, ","):
        start = min(len(_split_outside(clause, first)[0]) for first in "!<>=")
        sign = _SIGN.match(clause, start)
        if not sign or not clause[:start].strip():
            raise DataError(f"{clause.strip()!r} is no comparison; write name=value (or !=, <, >, <=, >=).")
        tests.append((selector(clause[:start]), sign[0], clause[sign.end() :].strip().strip("'\"")))
    return Condition(tuple(tests))


def split_top(text: str, separator: str) -> list[str]:
    """Split at a separator that stands outside quotes and brackets."""
    parts = []
    while True:
        head, found, text = _split_outside(text, separator)
        parts.append(head)
        if not found:
            return parts


def as_text(value: Any) -> str:
    """How a value reads: text as it is, truth as True or False, numbers in their shortest form, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _path(path: str, text: str) -> Selector:
    name = _NAME.match(path)
    if not name:
        raise DataError(f"{text!r} does not start with a column's name.")
    rest, each = path[name.end() :], False
    steps: list[Step] = []
    while rest:
        step: Step
        if rest.startswith("."):
            key = _NAME.match(rest, 1)
            if not key:
                raise DataError(f"{text!r}: a member's name must follow the dot.")
            step, rest = _member(key[0]), rest[key.end() :]
        elif rest.startswith("["):
            inside, closed, rest = _split_outside(rest[1:], "]")
            if not closed:
                raise DataError(f"{text!r}: a square bracket is not closed.")
            if inside.strip() == "*":
                steps.append(_items)
                each = True
                continue
            if re.fullmatch(r"\s*-?\d{1,9}\s*", inside):
                step = _item(int(inside))
            else:
                step, each_before, each = _where(condition(inside)), each, False
                if each_before:
                    raise DataError(f"{text!r}: choose items before [*], not after it.")
        else:
            raise DataError(f"{text!r}: {rest!r} was not expected; a path goes on with .member or [item].")
        steps.append(_over_each(step) if each else step)
    return Selector(text, name[0], tuple(steps))


def _split_outside(text: str, separator: str) -> tuple[str, str, str]:
    depth, quote = 0, ""
    for i, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char == '"':
            quote = char
        elif char == separator and depth == 0:
            return text[:i], char, text[i + 1 :]
        elif char in "[({":
            depth += 1
        elif char in "])}":
            depth = max(0, depth - 1)
    return text, "", ""


def _member(key: str) -> Step:
    def step(value: Any) -> Any:
        value = _decoded(value)
        if not isinstance(value, Mapping):
            raise BadRow(f"{key!r} was asked of {_kind(value)}, which has no members.")
        if key not in value:
            raise BadRow(f"there is no member {key!r} (members: {', '.join(map(str, value)) or 'none'}).")
        return value[key]

    return step


def _item(index: int) -> Step:
    def step(value: Any) -> Any:
        items = _items(value)
        if not -len(items) <= index < len(items):
            raise BadRow(f"item {index} was asked of a list of {len(items)}.")
        return items[index]

    return step


def _where(test: Callable[[Any], bool]) -> Step:
    return lambda value: [item for item in _items(value) if test(item)]


def _over_each(step: Step) -> Step:
    return lambda value: [step(item) for item in value]


def _items(value: Any) -> list[Any]:
    value = _decoded(value)
    if not isinstance(value, list | tuple):
        raise BadRow(f"a list was expected, not {_kind(value)}.")
    return list(value)


def _count(value: Any) -> int:
    value = _decoded(value)
    if not isinstance(value, list | tuple | Mapping):
        raise BadRow(f"only a list can be counted, not {_kind(value)}.")
    return len(value)


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise BadRow(f"the text {value[:40]!r} is not valid JSON.") from None


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in {"true", "yes", "1"}:
            return True
        if word in {"false", "no", "0", ""}:
            return False
        raise BadRow(f"{value[:40]!r} is neither true nor false.")
    return bool(value)


def _compares(value: Any, sign: str, literal: str) -> bool:
    left: Any
    right: Any
    if isinstance(value, bool):
        left, right = str(value).lower(), literal.lower()
    elif isinstance(value, int | float):
        try:
            left, right = value, float(literal)
        except ValueError:
            return sign == "!="
    else:
        left, right = as_text(value).lower(), literal.lower()
        if sign not in {"=", "!="}:
            try:
                left, right = float(left), float(right)
            except ValueError:
                return False
    return _COMPARE[sign](left, right)


def _kind(value: Any) -> str:
    return "nothing (null)" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


_FUNCTIONS: dict[str, Step] = {"count": _count, "any": lambda value: _count(value) > 0, "json": _decoded}
