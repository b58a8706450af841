"""Tagged text: what stands inside a tag, and whether a text is laid out as asked.

One reader and one checker for all layouts. Both scan the text once, whatever it holds: a regular expression of lazy
dots asks the same questions, but a hostile text makes it take quadratic time.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, overload

Tag = str | tuple[str, str]
"""A tag's name (`think` for `<think>`, `</think>`), or its opening and closing mark as they are written."""

THINK_ANSWER: tuple[Tag, ...] = ("think", "answer")


def marks(tag: Tag) -> tuple[str, str]:
    """The opening and closing mark of a tag."""
    return (f"<{tag}>", f"</{tag}>") if isinstance(tag, str) else tag


def tag_texts(text: str, tag: Tag = "answer", *, multiline: bool = True) -> Iterator[str]:
    """The insides of a tag, from left to right, as `<tag>(.*?)</tag>` finds them; each closes at the next closing mark.

    multiline: whether an inside may hold a line break.
    """
    for start, end in tag_spans(text, tag, multiline=multiline):
        yield text[start:end]


def tag_spans(text: str, tag: Tag = "answer", *, multiline: bool = True) -> Iterator[tuple[int, int]]:
    """Where the insides that `tag_texts` finds begin and end."""
    opening, closing = marks(tag)
    position, end, line_end = 0, -1, -1
    while (start := text.find(opening, position)) >= 0:
        start += len(opening)
        if end < start:
            end = text.find(closing, start)
            if end < 0:
                return
        if not multiline and line_end < start:
            line_end = text.find("\n", start)
            line_end = len(text) if line_end < 0 else line_end
        if not multiline and line_end < end:
            position = start - len(opening) + 1
            continue
        yield start, end
        position = end + len(closing)


def without(text: str, tag: Tag, *, multiline: bool = True) -> str:
    """The text without this tag's blocks, marks included."""
    opening, closing = marks(tag)
    kept, position = [], 0
    for start, end in tag_spans(text, tag, multiline=multiline):
        kept.append(text[position : start - len(opening)])
        position = end + len(closing)
    return "".join([*kept, text[position:]])


def innermost(text: str, tag: Tag = "answer") -> str | None:
    """What stands between the last closing mark and the last opening mark before it; None without such a pair."""
    opening, closing = marks(tag)
    head, closed, _ = text.rpartition(closing)
    _, opened, inside = head.rpartition(opening)
    return inside if closed and opened else None


@overload
def tag_text(
    text: str,
    tag: Tag = ...,
    *,
    which: Literal["first", "last"] = ...,
    multiline: bool = ...,
    missing: Literal["empty", "whole"],
    strip: bool = ...,
) -> str: ...
@overload
def tag_text(
    text: str,
    tag: Tag = ...,
    *,
    which: Literal["first", "last"] = ...,
    multiline: bool = ...,
    missing: None = ...,
    strip: bool = ...,
) -> str | None: ...
def tag_text(
    text: str,
    tag: Tag = "answer",
    *,
    which: Literal["first", "last"] = "first",
    multiline: bool = True,
    missing: Literal["empty", "whole"] | None = None,
    strip: bool = True,
) -> str | None:
    """The inside of the first or last such tag; where there is none, None, "" ("empty") or the whole text ("whole")."""
    insides = tag_texts(text, tag, multiline=multiline)
    found = next(insides, None) if which == "first" else deque(insides, maxlen=1)
    if isinstance(found, deque):
        found = found[0] if found else None
    if found is None and missing is not None:
        found = text if missing == "whole" else ""
    return found.strip() if strip and found is not None else found


def tag_format(
    text: str,
    tags: Sequence[Tag] = THINK_ANSWER,
    *,
    before: bool = False,
    after: bool | str = False,
    between: Literal["space", "one_space", "nothing", "anything"] | Sequence[str] = "space",
    once: bool = False,
    nonempty: bool = False,
    multiline: bool = True,
    strip: bool = False,
) -> float:
    """1 if the text is these tags in this order, else 0: `<think>.*?</think>\\s*<answer>.*?</answer>`, in linear time.

    before, after: whether other text may stand outside (`after` may name the only characters that may follow).
    between: what may stand between one tag and the next, for all gaps or one by one. once: each mark of each tag occurs
    exactly once. nonempty: no tag is empty. multiline: line breaks may stand inside tags. strip: blanks at both ends of
    the text do not count.
    """
    text = text.strip() if strip else text
    layout = _Layout(tuple(marks(tag) for tag in tags), before, after, between, nonempty, multiline)
    every = [mark for pair in layout.pairs for mark in pair]
    if once and any(text.count(mark) != every.count(mark) for mark in every):
        return 0.0
    return float(layout.accepts(text))


_State = tuple[int, bool, bool]
"""(i, inside, seen): inside tag i or where it is awaited, and whether a character of that stretch has been seen; tag
`len(pairs)` awaited means that the layout is complete."""


@dataclass(frozen=True)
class _Layout:
    """The layout's automaton over the marks of a text and what stands between them, all its states at once."""

    pairs: tuple[tuple[str, str], ...]
    before: bool
    after: bool | str
    between: str | Sequence[str]
    nonempty: bool
    multiline: bool

    def accepts(self, text: str) -> bool:
        states: set[_State] = {(0, False, False)}
        position = 0
        every = sorted({mark for pair in self.pairs for mark in pair}, key=len, reverse=True)
        for mark in re.finditer("|".join(map(re.escape, every)), text):
            states = self._past_mark(self._past_text(states, text[position : mark.start()]), mark[0])
            position = mark.end()
            if not states or (self.after is True and self._complete(states)):
                break
        return self._complete(self._past_text(states, text[position:]))

    def _complete(self, states: set[_State]) -> bool:
        return any(i == len(self.pairs) for i, _, _ in states)

    def _gap(self, i: int) -> str:
        """What may stand where tag i is awaited: nothing, space, one_space, anything, or the characters of `after`."""
        if i == 0:
            return "anything" if self.before else "nothing"
        if i == len(self.pairs):
            return "listed" if isinstance(self.after, str) else "anything" if self.after else "nothing"
        return self.between if isinstance(self.between, str) else self.between[i - 1]

    def _may_stand(self, i: int, seen: bool, piece: str) -> bool:
        gap = self._gap(i)
        return (
            gap == "anything"
            or (gap == "listed" and set(piece) <= set(self.after))  # type: ignore[arg-type]
            or (gap == "space" and piece.isspace())
            or (gap == "one_space" and piece.isspace() and len(piece) == 1 and not seen)
        )

    def _past_text(self, states: set[_State], piece: str) -> set[_State]:
        if not piece:
            return states
        inside_ok = self.multiline or "\n" not in piece
        return {
            (i, inside, True)
            for i, inside, seen in states
            if (inside_ok if inside else self._may_stand(i, seen, piece))
        }

    def _past_mark(self, states: set[_State], mark: str) -> set[_State]:
        past: set[_State] = set()
        for i, inside, seen in states:
            if inside or self._may_stand(i, seen, mark):
                past.add((i, inside, True))
            if inside and mark == self.pairs[i][1] and (seen or not self.nonempty):
                past.add((i + 1, False, False))
            if (
                not inside
                and i < len(self.pairs)
                and mark == self.pairs[i][0]
                and (self._gap(i) != "one_space" or seen)
            ):
                past.add((i, True, False))
        return past


def tagged_blocks(text: str, tags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`(tag, inside)` of every tag of these, from left to right; each closes at its own next closing mark."""
    opening = re.compile("|".join(re.escape(f"<{tag}>") for tag in tags))
    position = 0
    unclosed: set[str] = set()
    while found := opening.search(text, position):
        tag, position = found[0][1:-1], found.end()
        end = -1 if tag in unclosed else text.find(f"</{tag}>", position)
        if end < 0:
            unclosed.add(tag)
            continue
        yield tag, text[position:end]
        position = end + len(tag) + 3


def has_marks(text: str, tags: Sequence[Tag]) -> bool:
    """Whether both marks of every tag occur somewhere, in whatever order."""
    return all(mark in text for tag in tags for mark in marks(tag))


def balanced_marks(text: str, tags: Sequence[Tag], *, required: bool = False) -> bool:
    """Whether each tag is opened as often as it is closed (and, `required`, at all)."""
    counts = [[text.count(mark) for mark in marks(tag)] for tag in tags]
    return all(opened == closed and (opened > 0 or not required) for opened, closed in counts)


def unclosed(text: str) -> list[str]:
    """The names of tags that are opened more often than closed (`</g>`) or complete (`<g/>`), by first appearance."""
    open_: Counter[str] = Counter()
    for match in re.finditer(r"<(/?)([A-Za-z][\w:.-]*+)([^<>]*+)>", text):
        if not match[3].endswith("/"):
            open_[match[2]] += -1 if match[1] else 1
    return [name for name, count in open_.items() if count > 0]


def exactly_once(text: str, marks: Sequence[str]) -> float:
    """The share of these marks that occur exactly once (V-Triune, TinyLLaVA-Video-R1)."""
    return sum(text.count(mark) == 1 for mark in marks) / len(marks)


def in_order(text: str, patterns: Sequence[str | re.Pattern[str]]) -> bool:
    """Whether the patterns occur one after another, with anything between: `a.*?b.*?c`, each searched for once."""
    position = 0
    for pattern in patterns:
        found = re.compile(pattern).search(text, position)
        if found is None:
            return False
        position = found.end()
    return True


def ends_with_answer(
    text: str, body: str, tags: tuple[str, str] = ("think", "answer"), *, before: bool = False
) -> bool:
    """Whether a text is a thought and then an answer that matches the pattern `body` to the last character.

    before: whether text may precede the thought. The body's pattern must not match a closing mark of the thought.
    """
    (opens, closes), (answer_opens, answer_closes) = marks(tags[0]), marks(tags[1])
    start, end = text.find(opens), text.rfind(closes)
    if start < 0 or end < start + len(opens) or (start > 0 and not before):
        return False
    tail = rf"\s*+{re.escape(answer_opens)}{body}{re.escape(answer_closes)}"
    return re.compile(tail, re.DOTALL).fullmatch(text, end + len(closes)) is not None
