"""Turns of a policy that both writes and draws: words, a plan and its picture, a picture and a question about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gamutrl.core import Message, Prompt, image, text
from gamutrl.environments.base import Step


@dataclass(frozen=True)
class Answer:
    """The policy answers once, in words."""

    makes: Literal["text"] = "text"

    def __call__(self, prompt: Prompt, seed: int) -> Answer:
        return self

    def step(self, output: str) -> Step:
        return Step(done=True)


@dataclass(frozen=True)
class PlanThenDraw:
    """A plan in words, then a picture.

    fresh: the picture is drawn in a context of its own, whose message is `request` filled with the row's `column` and
    the plan (T2I-R1, arXiv 2505.00703); else the plan runs on into its picture (ReasonGen-R1, arXiv 2505.24875).
    """

    fresh: bool = False
    request: str = "{prompt}. {plan}"
    column: str = "prompt"
    makes: Literal["text"] = "text"

    def __call__(self, prompt: Prompt, seed: int) -> _Planning:
        if not self.fresh:
            return _Planning(None)
        return _Planning(self.request.replace("{prompt}", str(prompt.columns.get(self.column, prompt.text))))


class _Planning:
    def __init__(self, request: str | None) -> None:
        self.request, self.planned = request, False

    def step(self, output: Any) -> Step:
        if self.planned:
            return Step(done=True)
        self.planned = True
        if self.request is None:
            return Step(role="inside", makes="image")
        return Step(context=(Message("user", (text(self.request.replace("{plan}", output.strip())),)),), makes="image")


@dataclass(frozen=True)
class DrawThenAnswer:
    """A picture, then an answer to the row's question about it, in a context that holds nothing else.

    column: where the question is. before: text put before it.
    """

    column: str = "question"
    before: str = ""
    makes: Literal["image"] = "image"

    def __call__(self, prompt: Prompt, seed: int) -> _Drawing:
        question = prompt.columns.get(self.column)
        if not question:
            raise ValueError(f"Row {prompt.id or '?'} has no {self.column!r} to ask about its picture.")
        return _Drawing(f"{self.before}{question}")


class _Drawing:
    def __init__(self, question: str) -> None:
        self.question, self.drawn = question, False

    def step(self, output: Any) -> Step:
        if self.drawn:
            return Step(done=True)
        self.drawn = True
        return Step(context=(Message("user", (image(output), text(self.question))),))
