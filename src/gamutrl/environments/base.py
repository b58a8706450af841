"""What a rollout talks to: an environment makes one episode per rollout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from gamutrl.core import Call, Message, Part, Prompt


@dataclass(frozen=True, eq=False)
class Step:
    """What came back. `parts` are shown to the policy next, in `role` ("inside" continues the same assistant turn).

    `done` ends the episode. `keep` is the text that stays in the context when the environment edits the turn (None: all
    of it). `prefill` is assistant text the next turn starts from. `context` opens a fresh context for the next turn.
    `makes` is what the next turn is, for a policy that both writes and draws.
    """

    parts: tuple[Part, ...] = ()
    role: Literal["user", "tool", "inside"] = "user"
    done: bool = False
    keep: str | None = None
    prefill: str = ""
    context: tuple[Message, ...] | None = None
    calls: tuple[Call, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    makes: Literal["text", "image"] = "text"


class Episode(Protocol):
    """One conversation. `output` is what the policy's turn produced: text, an image, anything its family makes."""

    def step(self, output: Any) -> Step: ...


class Environment(Protocol):
    """Makes an episode from a row and a seed, and from nothing else: a group starts from one state.

    An attribute `makes` ("text" or "image") says what the first turn is, for a policy that both writes and draws;
    without one such a policy draws.
    """

    def __call__(self, prompt: Prompt, seed: int) -> Episode: ...


def needed(prompt: Prompt, column: str) -> Any:
    """A column that an environment plays from. Raises ValueError, saying what the row has, where it is not there."""
    if column not in prompt.columns:
        there = ", ".join(prompt.columns) or "none"
        raise ValueError(
            f"Row {prompt.id or '?'} has no column {column!r}, from which its environment is made (columns: {there}). "
            "Rows of the world that the recipe plays in have it; name a column of yours so with --columns."
        )
    return prompt.columns[column]


@dataclass(frozen=True)
class SingleTurn:
    """The policy answers once. Plain GRPO's environment."""

    def __call__(self, prompt: Prompt, seed: int) -> Episode:
        return _AnswerOnce()


class _AnswerOnce:
    def step(self, output: Any) -> Step:
        return Step(done=True)
