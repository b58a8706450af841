"""The environment of tools: the model asks, a tool does it, and what came back is shown."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gamutrl.core import Call, Part, Prompt, image, text
from gamutrl.environments.base import Episode, Step
from gamutrl.environments.calls import ToolCall, tidy
from gamutrl.environments.desk import Desk, Refusal, Shown, Tool
from gamutrl.environments.reading import Reader, Wish, last_call

Stop = Literal["turns", "calls", "pictures", "seconds", "tokens"]
MOST_WORDS = 2000
"""Characters of a tool's words, or of an error's, that the model is shown."""


@dataclass(frozen=True)
class Budget:
    """What one rollout may spend; None is no limit.

    turns: of the model. calls: carried out. pictures: seen, the prompt's included. seconds: of wall clock since the
    episode began (what it stops is not reproducible). tokens: after the prompt, observations included; the rollout
    loop counts them. Which of them ended a rollout is in its last turn's `info["stop"]` (tokens: in the rollout's).
    """

    turns: int | None = 5
    calls: int | None = None
    pictures: int | None = None
    seconds: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value <= 0:
                raise ValueError(f"A budget of {name} must be more than 0 (None: no limit), not {value}.")


@dataclass(frozen=True)
class Outcome:
    """A call, and what it brought or why it failed."""

    call: ToolCall | None
    shown: Shown = Shown()
    error: str | None = None


@dataclass(frozen=True)
class Reply:
    """What the model is told, as templates.

    shown: of a call that worked: `{text}` its words, `{pictures}` its pictures, `{width}` and `{height}` the first
    one's size, `{first}` and `{last}` their numbers among all seen (from 1), `{count}`, `{tool}`. by_tool: `shown` of
    certain tools. failed: `{error}` and `{tool}`. nothing: said to a turn that asks for nothing; `{question}` is the
    prompt's text. after: said after all of these. last: said in its place before the last turn, if any.
    """

    shown: str = "{text}{pictures}"
    failed: str = "Error: {error}"
    nothing: str = ""
    after: str = ""
    last: str = ""
    by_tool: Mapping[str, str] = field(default_factory=dict)

    def parts(self, outcomes: Sequence[Outcome], desk: Desk, last: bool = False) -> tuple[Part, ...]:
        """The parts of an observation. The desk holds the pictures already."""
        number = len(desk.seen) - sum(len(outcome.shown.pictures) for outcome in outcomes)
        said: list[Part] = []
        for outcome in outcomes:
            tool, pictures = outcome.call.name[:100] if outcome.call else "", outcome.shown.pictures
            if outcome.error is not None:
                said.append(text(_filled(self.failed, error=outcome.error[:MOST_WORDS], tool=tool)))
                continue
            width, height = pictures[0].size if pictures else (0, 0)
            fields = {
                "text": outcome.shown.text[:MOST_WORDS],
                "width": width,
                "height": height,
                "first": number + 1,
                "last": number + len(pictures),
                "count": len(pictures),
                "tool": tool,
            }
            number += len(pictures)
            # The template is parted before it is filled: a tool's words may hold what looks like a field.
            template, _, rest = self.by_tool.get(tool, self.shown).partition("{pictures}")
            before, after = _filled(template, **fields), _filled(rest, **fields)
            said += [text(before), *(image(picture) for picture in pictures), text(after)]
        if not outcomes:
            said.append(text(_filled(self.nothing, question=desk.prompt.text)))
        closing = self.last if last and self.last else self.after
        said.append(text(_filled(closing, question=desk.prompt.text)))
        return tuple(part for part in said if part.is_media or part.value)


@dataclass(frozen=True)
class Toolbox:
    """An environment of tools.

    tools: by name. read: what a turn asks for. reply: how what came back is told, in `role`. ends: the kinds of turn
    after which nothing more can come ("failed": one whose calls were all refused). prefill: assistant text that the
    last turn of the budget starts from. any_case: names of tools may be written in capitals. A malformed or impossible
    call never raises: the model is told, unless `ends` says otherwise.
    """

    tools: Mapping[str, Tool]
    read: Reader = last_call
    reply: Reply = Reply()
    budget: Budget = Budget()
    role: Literal["user", "tool", "inside"] = "user"
    ends: tuple[str, ...] = ("nothing",)
    prefill: str = ""
    any_case: bool = False

    def __call__(self, prompt: Prompt, seed: int) -> Episode:
        return _AtTheDesk(self, Desk.of(prompt, seed))

    @property
    def tokens(self) -> int | None:
        return self.budget.tokens

    def at_most(self, tokens: int) -> Toolbox:
        """The same with so many tokens to a rollout, observations included."""
        return replace(self, budget=replace(self.budget, tokens=tokens))

    def find(self, name: str) -> Tool | None:
        """The tool of a name, if there is one."""
        if self.any_case:
            return next((tool for known, tool in self.tools.items() if known.lower() == name.lower()), None)
        return self.tools.get(name)


@dataclass(eq=False)
class _AtTheDesk:
    box: Toolbox
    desk: Desk
    clock: Callable[[], float] = time.monotonic
    turns: int = 0
    calls: int = 0
    began: float = field(default=0.0)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def step(self, output: Any) -> Step:
        self.turns += 1
        wish = self.box.read(output if isinstance(output, str) else str(output))
        wish = replace(wish, calls=tuple(map(tidy, wish.calls)))
        if wish.kind == "answer":
            return Step(done=True, keep=wish.keep, info={"end": "answer"})
        if wish.kind in self.box.ends:
            return Step(done=True, keep=wish.keep, calls=_refused(wish, wish.fault), info={"stop": wish.kind})
        if stop := self._spent():
            return self._over(wish, stop)
        outcomes = self._outcomes(wish)
        if "failed" in self.box.ends and outcomes and all(outcome.error is not None for outcome in outcomes):
            return Step(done=True, keep=wish.keep, calls=_calls(outcomes), info={"stop": "failed"})
        most = self.box.budget.pictures
        if most is not None and len(self.desk.seen) > most:
            return self._over(wish, "pictures")
        last = self._is_last()
        return Step(
            parts=self.box.reply.parts(outcomes, self.desk, last),
            role=self.box.role,
            keep=wish.keep,
            prefill=self.box.prefill if last else "",
            calls=_calls(outcomes),
            info={
                "shown": [dict(outcome.shown.info) for outcome in outcomes if outcome.error is None],
                "sizes": [seen.full.size for seen in self.desk.seen],
            },
        )

    def _outcomes(self, wish: Wish) -> list[Outcome]:
        if wish.kind == "unreadable":
            return [Outcome(None, error=wish.fault)]
        outcomes = [self._carried_out(call) for call in wish.calls]
        self.calls += len(outcomes)
        return outcomes

    def _carried_out(self, call: ToolCall) -> Outcome:
        tool = self.box.find(call.name)
        if tool is None:
            there = ", ".join(self.box.tools)
            return Outcome(call, error=f"there is no tool called {call.name[:100]!r}; there are: {there}")
        try:
            shown = tool(self.desk, call.arguments)
        except Refusal as refusal:
            return Outcome(call, error=str(refusal))
        self.desk.put(shown, call.name)
        return Outcome(call, shown)

    def _spent(self) -> Stop | None:
        """What is spent, so that this turn cannot be answered."""
        budget = self.box.budget
        if budget.turns is not None and self.turns >= budget.turns:
            return "turns"
        if budget.calls is not None and self.calls >= budget.calls:
            return "calls"
        if budget.seconds is not None and self.clock() - self.began >= budget.seconds:
            return "seconds"
        return None

    def _is_last(self) -> bool:
        """Whether no turn after the next one can be answered."""
        budget = self.box.budget
        return (
            (budget.turns is not None and self.turns + 1 >= budget.turns)
            or (budget.calls is not None and self.calls >= budget.calls)
            or (budget.pictures is not None and len(self.desk.seen) >= budget.pictures)
        )

    def _over(self, wish: Wish, stop: Stop) -> Step:
        calls = _refused(wish, f"the budget of {stop} is spent")
        return Step(done=True, keep=wish.keep, calls=calls, info={"end": "budget", "stop": stop})


def _calls(outcomes: Sequence[Outcome]) -> tuple[Call, ...]:
    """What was asked for, as the rollout records it; a call that could not be read has no name."""
    return tuple(
        Call(outcome.call.name, outcome.call.arguments, outcome.error) if outcome.call else Call("", {}, outcome.error)
        for outcome in outcomes
    )


def _refused(wish: Wish, why: str) -> tuple[Call, ...]:
    if wish.kind == "unreadable":
        return (Call("", {}, wish.fault),)
    return tuple(Call(call.name, call.arguments, why) for call in wish.calls)


def _filled(template: str, **values: object) -> str:
    """The template with the fields that are given; other braces stay."""
    return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], match[0])), template)
