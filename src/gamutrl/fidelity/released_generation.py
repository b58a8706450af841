"""Defects of released code that trains generators, reproduced for the recorded cases alone."""

from __future__ import annotations

import re

T2I_R1_RELATIONS = {
    "left of": "left",
    "on the left of": "left",
    "right of": "right",
    "on the right of": "right",
    "below": "bottom",
    "on the bottom of": "bottom",
    "top of": "top",
    "on the top of": "top",
    "next to": "near",
    "near": "near",
    "on side of": "near",
}
"""T2I-R1: the relations that it knows; "above" and "on top of" are never right."""


def simplear_caption(prompt: str) -> str:
    """SimpleAR: the marks are stripped as characters, so letters of the caption go with them."""
    return prompt.strip("<|t2i|>").strip("<|soi|>").strip()  # noqa: B005


def corl_answer(text: str) -> str:
    """CoRL: the first answer on one line, else the text without thought, marks and the words "Answer"."""
    found = re.search(r"<answer>([^\n<]*+(?:<(?!/answer>)[^\n<]*+)*+)</answer>", text)
    if found:
        return found[1].strip()
    text = re.sub(r"</?+(?:think|answer)>", "", text.rpartition("</think>")[2])
    return re.sub(r"Answer:?+", "", text).strip()


def x_omni_clean(text: str) -> str:
    """X-Omni: of the phrases to cut out only the last is, since each cut starts from the text as it was."""
    for phrase in ("addCriterion", "No text recognized."):
        cleaned = text.replace(phrase, "")
    return cleaned
