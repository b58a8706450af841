"""What a turn asks for, in the notations of the systems: an answer, calls of tools, nothing, what cannot be read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gamutrl.environments import calls, drawings, transcripts, zoom
from gamutrl.environments.calls import ToolCall
from gamutrl.rewards.parsing import loads, numbers
from gamutrl.rewards.tags import tag_text, tag_texts

MOST_CALLS = 16
"""Calls of one turn that are read; more are left out."""

Kind = Literal["answer", "calls", "nothing", "unreadable"]


@dataclass(frozen=True)
class Wish:
    """What a turn asks for. fault: why it is unreadable. keep: what of the turn stays in the context (None: all)."""

    kind: Kind
    calls: tuple[ToolCall, ...] = ()
    fault: str = ""
    keep: str | None = None


Reader = Callable[[str], Wish]
_QUADRUPLE = re.compile(r"\[\s*+(\d{1,9}(?:\.\d{0,9}+)?+)" + r"\s*+,\s*+(\d{1,9}(?:\.\d{0,9}+)?+)" * 3 + r"\s*+\]")


def last_call(text: str) -> Wish:
    """An answer that is not empty, else the last `<tool_call>` (DeepEyes 2505.14362; ViGoRL 2505.23678)."""
    kind, call = zoom.asked(text)
    if kind == "call":
        return Wish("calls", (call,)) if call else Wish("unreadable")
    if kind == "unreadable":
        return Wish("unreadable", fault='the call is not JSON of the form {"name": …, "arguments": {…}}')
    return Wish("answer" if kind == "answer" else "nothing")


def closing_call(text: str) -> Wish:
    """The last call of a turn that ends with one; any other turn is the answer (Pixel-Reasoner 2505.15966)."""
    if not text.rstrip().endswith("</tool_call>"):
        return Wish("answer")
    call = calls.as_call(loads(calls.after_last(text)))
    return Wish("calls", (call,)) if call else Wish("unreadable", fault="the call is not valid JSON")


def every_call(text: str) -> Wish:
    """All calls of a turn, in order; without any, it ends the episode (Chain-of-Focus 2505.15436)."""
    written = [inside for inside, _ in zip(tag_texts(text, "tool_call"), range(MOST_CALLS))]
    if not written:
        return Wish("answer" if tag_text(text) is not None else "nothing")
    read = [calls.as_call(loads(inside.strip())) for inside in written]
    found = tuple(call for call in read if call)
    return Wish("calls", found) if found else Wish("unreadable", fault="the call is not valid JSON")


def first_box(text: str) -> Wish:
    """An answer where one is begun, else a crop of the first `[x1, y1, x2, y2]` if any (Ground-R1 2505.20272)."""
    if "<answer>" in text:
        return Wish("answer")
    found = _QUADRUPLE.search(text)
    box = [float(side) for side in found.groups()] if found else None
    return Wish("calls", (ToolCall("crop", {"bbox_2d": box}),))


def first_action(text: str) -> Wish:
    """The first of the JSON `actions`; "Terminate", wherever it stands, is the answer (OpenThinkIMG 2505.08617)."""
    if "Terminate" in text:
        return Wish("answer")
    found = calls.action_list(text)
    return Wish("calls", tuple(found[:1])) if found else Wish("nothing")


def tagged_action(text: str) -> Wish:
    """The first `<search>`, `<bbox>` or `<answer>`; only tagged blocks stay in the context (VRAG-RL 2505.22019)."""
    keep = transcripts.kept_blocks(text)
    action, inside = transcripts.first_action(text)
    if action == "answer":
        return Wish("answer", keep=keep)
    if action == "search":
        return Wish("calls", (ToolCall("search", {"query": inside}),), keep=keep)
    if action == "bbox":
        box = loads(inside)
        if numbers(box, 4) is None or min(box) < 0:
            return Wish("unreadable", fault="the box is not a list of four numbers from 0 on", keep=keep)
        return Wish("calls", (ToolCall("crop", {"bbox_2d": box}),), keep=keep)
    return Wish("nothing", keep=keep)


def drawn_items(text: str) -> Wish:
    """What a turn's ```json blocks draw, a call for each picture; both answer tags are the answer (ViLaSR 2506.09965).

    An item without the number of its picture makes the turn unreadable, as one without any drawing does.
    """
    if "<answer>" in text and "</answer>" in text:
        return Wish("answer")
    drawing = drawings.drawing_in(text[: calls.MAX_CHARACTERS])
    items = [*drawing.boxes, *drawing.arrows]
    if not items:
        return Wish("unreadable", fault="there is nothing to draw")
    by_picture: dict[int, list[drawings.Item]] = {}
    for item in items:
        index = item.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            return Wish("unreadable", fault="an item has no index of an image")
        by_picture.setdefault(index, []).append(item)
    asked = [ToolCall("draw", {"index": index, "items": some}) for index, some in by_picture.items()]
    return Wish("calls", tuple(asked[:MOST_CALLS]))
