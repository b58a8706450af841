"""Defects of agents' released code (tools, turns, searches), reproduced for the recorded cases alone."""

from __future__ import annotations

import re
from typing import Any

import torch

from gamutrl.rewards.grading import boxed
from gamutrl.rewards.maths import math_equal, maths_in
from gamutrl.rewards.parsing import literal
from gamutrl.rewards.tags import marks, tag_format, tag_text, tag_texts


def pixel_reasoner_result(text: str, truth: str | list[str]) -> float:
    """Pixel-Reasoner: all in lower case, so that letters are maths; several truths are one text, split at its commas.

    Every part must then stand somewhere behind the last "boxed". The whole text's result is final.
    """
    wanted = str(truth).lower()
    wanted = wanted if "\\boxed" in wanted else f"\\boxed{{{wanted}}}"
    text = text.lower().replace("<|im_end|>", "")
    _, mark, tail = text.rpartition("boxed")
    if "," in wanted and mark and all(part.strip() in tail for part in wanted[7:-1].split(",")):
        return 1.0
    inside = boxed(text)
    attempts = [f"\\boxed{{{inside}}}"] if inside is not None else []
    attempts += [answer for answer in [tag_text(text, multiline=False)] if answer is not None]
    if any(math_equal(attempt, wanted) for attempt in attempts):
        return 1.0
    return float(bool(math_equal(text, wanted))) if maths_in(text) else -1.0


def grit_tags(text: str) -> float:
    """GRIT: a point for each mark found behind the last place of the one before, one more for two words of thought."""
    rest, points = text, 0
    for mark in (*marks("think"), *marks("rethink")):
        if mark in rest:
            points += 1
            rest = rest.rpartition(mark)[2]
    thought = re.sub(r"[^a-zA-Z0-9]", " ", tag_text(text, "think", which="last", missing="empty", strip=False))
    points += points == 4 and len(thought) > 1 and len(thought.strip().split(" ")) >= 2
    return points / 5 * 0.5


def ground_r1_letter(text: str) -> str:
    """Ground-R1: the letter right behind the opening mark, even of a word; else the whole text."""
    found = re.search(r"<answer>\s*+([A-D])", text, re.IGNORECASE)
    return found[1].upper() if found else text.strip()


def vilasr_relative_accuracy(given: str, truth: str) -> float:
    """ViLaSR: mean relative accuracy in single precision, whose rounding moves errors that lie on a bar."""
    found = [re.search(r"[-+]?\d*\.?\d+", text) for text in (given, truth)]
    if not all(found):
        return 0.0
    said, true = (torch.tensor(float(match[0][:400])) for match in found if match)
    return float(((said - true).abs() / (true.abs() + 1e-8) < 1 - torch.linspace(0.5, 0.95, 10)).float().mean())


def swallowed_box(item: dict[str, Any]) -> dict[str, Any]:
    """ActiveO3: `{"bbox_2d [1, 2, 3, 4]": label}`, a key that swallowed its box, taken apart."""
    read: dict[str, Any] = {}
    for key, value in item.items():
        if not re.match(r"bbox_2d\s*+\[", key):
            read[key] = value
            continue
        sides = next(tag_texts(key, ("[", "]")), "").split(",")
        if all(re.fullmatch(r"\s*+-?\d{1,18}\s*+", side) for side in sides):
            read |= {"bbox_2d": [int(side) for side in sides], "label": value}
    return read


def unwrapped(text: str) -> str:
    """ActiveO3: what stands in `<answer>`, and in that in a fence, if their marks have lines of their own."""
    for opening, closing in (marks("answer"), ("```json", "```")):
        lines = text.split("\n")
        if opening in lines:
            text = "\n".join(lines[lines.index(opening) + 1 :]).partition(closing)[0]
    return text


def vigorl_point_in_box(said: str, truth: str) -> float:
    """ViGoRL: two whole numbers (booleans pass) inside the true box, borders included."""
    point, box = literal(said), literal(truth)
    if not (_integers(point, 2) and _integers(box, 4)):
        return 0.0
    return float(box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3])


def vigorl_layout(text: str, *, point: bool = False, answered: bool = True) -> float:
    """ViGoRL: thought and answer, a pair of whole numbers in the first thought, and an answer of the right kind."""
    said = tag_text(text, missing="empty")
    right = _is_point(said) if point else bool(said) or not answered
    cites = re.search(r"\(\d++,\s*+\d++\)", tag_text(text, "think", missing="empty")) is not None
    return float(right and cites and tag_format(text) == 1)


def vigorl_web_action(said: str, truth: str) -> float:
    """ViGoRL: verbs found anywhere in the answer, half a point for the verb and half for the first bracket."""
    for verb in ("go_back", "stop"):
        if verb in said:
            return float(verb in truth)
    if "scroll" in said:
        return float(any(way in said and way in truth for way in ("[down]", "[up]")))
    for verb, pattern in (("click", r"\[(\d++)\]"), ("type", r"\[([^\[\]]*)\]")):
        if verb in said:
            one, other = re.search(pattern, said), re.search(pattern, truth)
            return 0.5 * (verb in truth) + 0.5 * (one is not None and other is not None and one[1] == other[1])
    return 0.0


def _integers(value: Any, count: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == count and all(isinstance(item, int) for item in value)


def _is_point(said: str) -> bool:
    return said.startswith("(") and said.endswith(")") and _integers(literal(said), 2)
