"""How an answer is asked for and written: tags around it, and the notation of boxes in it.

Every world takes the knobs `form` (which tags) and `boxes` (which notation), so any task can be posed in the format
that a recipe's rewards read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

FORMS: dict[str, str] = {
    "plain": "",
    "answer": " Reply <answer></answer>.",
    "think": " Reply <think></think><answer></answer>.",
    "info": " Reply <info></info><think></think><answer></answer>.",
    "perception": " Reply <perception></perception><think></think><answer></answer>.",
    "actions": " Reply in actions.",
}
"""The tags a reply is written in, or that it is JSON, and the hint that asks for them."""

NOTATIONS: dict[str, str] = {
    "list": "",
    "position": " Boxes as Position, Confidence.",
    "bbox_2d": " Boxes as bbox_2d.",
    "native": " Boxes as <|box_start|><|box_end|>.",
}
"""The notations of boxes, and the hint that asks for each."""

_DESCRIBED = ("info", "perception")
"""Forms whose reply says first what there is to see, in a tag of their name."""

Box = Sequence[int]


def hint(form: str, boxes: str | None = None) -> str:
    """What follows a question, so that the reply comes in this form (and notation, where it holds boxes)."""
    if form not in FORMS:
        raise ValueError(f"No form is called {form!r}; there are: {', '.join(FORMS)}.")
    if boxes is not None and boxes not in NOTATIONS:
        raise ValueError(f"No notation of boxes is called {boxes!r}; there are: {', '.join(NOTATIONS)}.")
    return ("" if boxes is None else NOTATIONS[boxes]) + FORMS[form]


def write(form: str, answer: str, thought: str = "", info: str = "") -> str:
    """A reply in a form; a thought or description that the form has no tags for is left out."""
    if form == "plain":
        return answer
    if form == "actions":
        return json.dumps({"thought": thought, "actions": [{"name": "Terminate", "arguments": {"ans": answer}}]})
    reply = f"<answer>{answer}</answer>"
    if form in ("think", *_DESCRIBED):
        reply = f"<think>{thought}</think>{reply}"
    return f"<{form}>{info}</{form}>\n{reply}" if form in _DESCRIBED else reply


def write_box(box: Box, notation: str = "list", confidence: float = 1.0) -> str:
    """One box, the answer to "where is it?"."""
    if notation == "position":
        return f"[{_position(box, confidence)}]"
    if notation == "bbox_2d":
        return f'{{"bbox_2d": {_corners(box)}}}'
    return _native(box) if notation == "native" else _corners(box)


def write_boxes(
    boxes: Sequence[Box], labels: Sequence[str], notation: str = "list", confidences: Sequence[float] | None = None
) -> str:
    """Any number of boxes with their labels, or what the notation says when there are none."""
    if not boxes:
        return "No Objects" if notation == "position" else "None"
    if notation == "position":
        scores = confidences or [1.0] * len(boxes)
        return f"[{', '.join(_position(box, score) for box, score in zip(boxes, scores))}]"
    if notation == "bbox_2d":
        items = (f'{{"bbox_2d": {_corners(box)}, "label": "{label}"}}' for box, label in zip(boxes, labels))
        return f"```json\n[{', '.join(items)}]\n```"
    if notation == "native":
        return "".join(_native(box) for box in boxes)
    return f"[{', '.join(_corners(box) for box in boxes)}]"


def _corners(box: Box) -> str:
    return f"[{', '.join(str(side) for side in box)}]"


def _position(box: Box, confidence: float) -> str:
    return f"{{'Position': {_corners(box)}, 'Confidence': {confidence:.2f}}}"


def _native(box: Box) -> str:
    return f"<|box_start|>({box[0]},{box[1]}),({box[2]},{box[3]})<|box_end|>"
