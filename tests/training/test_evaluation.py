"""What a rollout answers, as evaluations count it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from patience import bounded

from gamutrl.core import Call, Prompt, Rollout, Turn
from gamutrl.training.evaluation import answer_of

ZOOM = '<tool_call>{"name": "image_zoom_in_tool", "arguments": {"bbox_2d": [1, 2, 3, 4]}}</tool_call>'
POINT = '{"thought": "", "actions": [{"name": "Point", "arguments": {"image": "img_1", "param": "the top"}}]}'
TERMINATE = '{"thought": "7", "actions": [{"name": "Terminate", "arguments": {"ans": "dark  red"}}]}'


def said(*texts: str, called: bool = False) -> Rollout:
    """A rollout of these turns; called: the last of them was read as a call."""
    nothing = torch.zeros(0)
    turns = [Turn(text, text, nothing.long(), nothing) for text in texts]
    turns[-1].calls = (Call("tool", {}),) if called else ()
    return Rollout(Prompt.ask("Which?"), turns)


def spent(*texts: str) -> Rollout:
    """A rollout whose environment stopped it."""
    return replace(said(*texts), end="budget")


@pytest.mark.parametrize(
    ("rollout", "answer"),
    [
        (said("<think>a</think><answer> dark\n red </answer>"), "dark red"),
        (said(ZOOM, "<answer>7</answer> so far, <answer>8</answer>"), "8"),
        (said("<answer>cut off"), "cut off"),
        (said("It is \\boxed{\\frac{1}{2}}, I think."), "\\frac{1}{2}"),
        (said(POINT, TERMINATE), "dark red"),
        (said(POINT, POINT, called=True), ""),
        (said(ZOOM, called=True), ""),
        (spent("look again", "and again"), ""),
        (said("a red circle"), "a red circle"),
        (said("so " * 100 + "blue"), "o " + "so " * 18 + "blue"),
        (Rollout(Prompt.ask("Which?"), []), ""),
    ],
)
def test_an_answer_is_found_in_every_notation(rollout, answer):
    assert answer_of(rollout) == answer


@pytest.mark.parametrize("piece", ['{"actions": [', "\\boxed{", "<answer>", "]}", '"actions": [{}], '])
def test_hostile_text_is_read_in_bounded_time(piece):
    text = piece * (1_000_000 // len(piece))
    with bounded():
        assert len(answer_of(said(text))) <= 60
