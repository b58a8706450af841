"""Trying again with the result before one's eyes: each turn opens anew with what the last one made of the task.

After MetaSpatial (2503.18470): a layout is rendered and graded, and the next turn sees the task, its last answer, that
answer's grade and the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from gamutrl.core import Message, Part, Prompt, image, text
from gamutrl.data.worlds import render, rooms
from gamutrl.environments.base import Episode, Step, needed
from gamutrl.environments.desk import sayable
from gamutrl.rewards.furnishing import layout_in

Grade = Callable[[Prompt, str], float]
Render = Callable[[Prompt, str], Image.Image | None]
MOST_ANSWER = 4000
"""Characters of an answer that the next turn is shown."""


def room_picture(prompt: Prompt, said: str) -> Image.Image | None:
    """The row's room with the answer's layout, from above; None where the answer places nothing."""
    facts: Mapping[str, Any] = needed(prompt, "facts")
    things = rooms.placed(facts, layout_in(said))
    if all(thing.position is None for thing in things):
        return None
    return render.picture(rooms.draw_room(facts["room"], things))


def room_grade(prompt: Prompt, said: str) -> float:
    """What the rule judge gives the answer's layout, in [0, 1]."""
    facts: Mapping[str, Any] = needed(prompt, "facts")
    return rooms.graded(facts, rooms.placed(facts, layout_in(said))) / 50


@dataclass(frozen=True)
class Refining:
    """`turns` tries at a task. grade, draw: what is told of the last one. good: a grade that needs no further try.

    Each turn's `info` holds its `reward`. A turn's context is the row's messages, the last answer and its grade, and
    the picture where there is one.
    """

    turns: int = 3
    grade: Grade = room_grade
    draw: Render = room_picture
    good: float = 1.0
    template: str = "\nYour last answer: {answer}\nIts reward: {reward}. Improve it."

    def __call__(self, prompt: Prompt, seed: int) -> Episode:
        return _Tries(self, prompt)


@dataclass(eq=False)
class _Tries:
    task: Refining
    prompt: Prompt
    turn: int = 0

    def step(self, output: Any) -> Step:
        self.turn += 1
        said = str(output)
        reward = self.task.grade(self.prompt, said)
        info = {"reward": reward}
        if self.turn >= self.task.turns or reward >= self.task.good:
            return Step(done=True, info={**info, "end": "answer"})
        told = self.task.template.replace("{reward}", f"{reward:.2f}").replace("{answer}", said[:MOST_ANSWER])
        picture = self.task.draw(self.prompt, said)
        parts: Sequence[Part] = (*((image(picture),) if picture else ()), text(sayable(told)))
        *before, last = self.prompt.messages
        return Step(context=(*before, Message(last.role, (*last.parts, *parts))), info=info)
