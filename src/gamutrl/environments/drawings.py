"""Drawing on pictures as a way to think: boxes and arrows asked for, and what is on each picture (ViLaSR, 2506.09965).

An item is `{"index": picture, "bbox_2d": [x1, y1, x2, y2], "label": …}`, or an arrow with `start_point_2d` and
`end_point_2d`; pictures are numbered from 1 in items, from 0 in annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gamutrl.environments.calls import fenced_blocks
from gamutrl.rewards.parsing import literal
from gamutrl.rewards.tags import has_marks, in_order

Item = dict[str, Any]
Annotations = Mapping[int, Sequence[Item]]
"""What is drawn on each picture."""


class Drawing(NamedTuple):
    """What a turn asks to draw, and what in it could not be read."""

    boxes: list[Item]
    arrows: list[Item]
    unread: list[Any]
    unparsed: int


def drawing_in(text: str) -> Drawing:
    """The items of a turn's ```json blocks."""
    values = [literal(block.strip()) for block in fenced_blocks(text)]
    items = [item for value in values if value is not None for item in (value if isinstance(value, list) else [value])]
    boxes = [item for item in items if _has(item, "bbox_2d", "label")]
    arrows = [item for item in items if _has(item, "start_point_2d", "end_point_2d", "label")]
    unread = [item for item in items if item not in boxes and item not in arrows]
    return Drawing(boxes, arrows, unread, values.count(None))


def picture_of(items: Iterable[Item]) -> int | None:
    """The picture that the first item is drawn on, from 0; None without items."""
    return next((int(item["index"]) - 1 for item in items), None)


def drawn(annotations: Annotations, items: Sequence[Item], picture: int, new: int) -> dict[int, list[Item]]:
    """The annotations with a new picture: those of the one drawn on, each label replaced by its latest item."""
    before = {key: list(value) for key, value in annotations.items()}
    on_it = before.setdefault(picture, []) if items else before.get(picture, [])
    for item in items:
        on_it = [other for other in on_it if other.get("label") != item.get("label")] + [item]
    return {**before, new: list(on_it)}


def redraws(drawings: Iterable[Drawing]) -> bool:
    """Whether some box is drawn again elsewhere under its label: a sign of reflection."""
    seen: dict[str, Any] = {}
    for drawing in drawings:
        for item in drawing.boxes:
            if seen.setdefault(str(item["label"]), item["bbox_2d"]) != item["bbox_2d"]:
                return True
    return False


def layout(turns: Sequence[str]) -> float:
    """1 if every turn is a thought and an action, all drawings can be read, and only the last turn answers (ViLaSR)."""
    laid_out = all(in_order(turn, [r"\A<think>", r"</think>\s*+Action:"]) for turn in turns)
    readable = not any(drawing.unparsed or drawing.unread for drawing in map(drawing_in, turns))
    silent = not any("answer>" in turn for turn in turns[:-1])
    answered = [has_marks(turn, ("answer",)) for turn in turns[-1:]]
    return float(laid_out and readable and silent and answered == [True])


def _has(item: Any, *keys: str) -> bool:
    return isinstance(item, dict) and all(key in item for key in keys)
