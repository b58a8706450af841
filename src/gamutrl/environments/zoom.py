"""Tools that look closer: what a turn asks for, and the picture or the error that comes back."""

from __future__ import annotations

from typing import Any, Literal

from PIL import Image

from gamutrl.environments import crops
from gamutrl.environments.calls import ToolCall, after_last, as_call
from gamutrl.rewards.parsing import loads, numbers
from gamutrl.rewards.tags import tag_text, tag_texts

Asked = Literal["answer", "nothing", "call", "unreadable"]


def asked(text: str) -> tuple[Asked, ToolCall | None]:
    """What a turn does: it answers (its last answer is not empty), asks for nothing, or makes a call (its last)."""
    if tag_text(text, which="last"):
        return "answer", None
    if not any(True for _ in tag_texts(text, "tool_call")):
        return "nothing", None
    call = as_call(loads(after_last(text)))
    return ("unreadable", None) if call is None else ("call", call)


def zoom_box(
    box: Any, size: crops.Size, *, longer_than: float = 30, elongation_up_to: float = 100
) -> list[float] | None:
    """The part of a box that can be zoomed into: in the picture, large enough, not too elongated; else None."""
    if numbers(box, 4) is None:
        return None
    inside = crops.clipped(box, size)
    return inside if crops.croppable(inside, longer_than=longer_than, elongation_up_to=elongation_up_to) else None


def look(image: Image.Image, call: ToolCall) -> Image.Image | str:
    """What a call of DeepEyes's tools (zoom, rotate) shows, or what is wrong with it, in words."""
    if call.name == "image_zoom_in_tool":
        box = zoom_box(call.arguments.get("bbox_2d"), image.size)
        if box is None:
            return "Error: bbox_2d must be [x1, y1, x2, y2] in pixels, with sides of more than 30 pixels."
        return image.crop(tuple(crops.whole(box)))  # type: ignore[arg-type]
    if call.name == "image_rotate_tool":
        angle = numbers([call.arguments.get("angle")], 1)
        return "Error: angle must be a number of degrees." if angle is None else image.rotate(angle[0] % 360)
    return f"Error: there is no tool called {call.name[:100]!r}."
