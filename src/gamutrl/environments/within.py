"""Any environment within a budget: games, mazes and second tries end as episodes of tools do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from gamutrl.core import Part, Prompt
from gamutrl.environments.base import Environment, Episode, Step
from gamutrl.environments.toolbox import Budget, Stop


@dataclass(frozen=True)
class Within:
    """The environment, whose episodes end once their budget is spent: `Within(Walking(), Budget(turns=8, seconds=60))`.

    What came back to the turn that spent it is not shown. `info["stop"]` says what was spent, as in `Toolbox`.
    """

    environment: Environment
    budget: Budget

    def __call__(self, prompt: Prompt, seed: int) -> Episode:
        return _Bounded(self.environment(prompt, seed), self.budget, prompt)

    @property
    def tokens(self) -> int | None:
        return self.budget.tokens

    @property
    def makes(self) -> Any:
        return self.environment.makes  # type: ignore[attr-defined]  # An environment may have none, and so has this.


@dataclass(eq=False)
class _Bounded:
    episode: Episode
    budget: Budget
    prompt: Prompt
    clock: Callable[[], float] = time.monotonic
    turns: int = 0
    calls: int = 0
    pictures: int = field(init=False)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began, self.pictures = self.clock(), _pictures(self.prompt.parts())

    def step(self, output: Any) -> Step:
        step = self.episode.step(output)
        self.turns += 1
        self.calls += len(step.calls)
        own = {id(part) for part in self.prompt.parts()}
        afresh = (part for message in step.context or () for part in message.parts if id(part) not in own)
        self.pictures += _pictures(step.parts) + _pictures(afresh)
        stop = self._spent()
        if step.done or stop is None:
            return step
        return Step(done=True, keep=step.keep, calls=step.calls, info={**step.info, "end": "budget", "stop": stop})

    def _spent(self) -> Stop | None:
        spent: tuple[tuple[Stop, float | None, bool], ...] = (
            ("turns", self.budget.turns, self.turns >= (self.budget.turns or 0)),
            ("calls", self.budget.calls, self.calls >= (self.budget.calls or 0)),
            ("pictures", self.budget.pictures, self.pictures > (self.budget.pictures or 0)),
            ("seconds", self.budget.seconds, self.clock() - self.began >= (self.budget.seconds or 0)),
        )
        return next((name for name, most, over in spent if most is not None and over), None)


def _pictures(parts: Iterable[Part]) -> int:
    return sum(len(part.value) if part.kind == "video" else part.kind == "image" for part in parts)
