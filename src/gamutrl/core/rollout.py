"""What a policy did for one prompt: turns, calls, how it ended; and the rows that are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from gamutrl.core.prompt import Message, Part, Prompt

End = Literal["answer", "eos", "length", "budget", "error"]


@dataclass(frozen=True, eq=False)
class Call:
    """One tool call read from a turn. `error` is what the environment answered when it could not be carried out."""

    name: str
    arguments: Mapping[str, Any]
    error: str | None = None


@dataclass(eq=False)
class Turn:
    """One uninterrupted stretch of the policy's own actions, and what the environment said after it.

    `text` is decoded without special tokens, `raw_text` with them. `tokens_T` are the actions exactly as sampled (text
    tokens, image tokens, scales; a denoising policy stores `[T, D]` states): text is never tokenised again.
    `char_of_T[t]` is where token t starts in `raw_text`. `logp_T` is what sampling recorded, at `temperature`.

    `context` is None for a turn that continues where the last one stopped; a turn that opens a fresh context carries
    its messages here. `observation` is what the environment gave back after this turn, in role `observation_role`; it
    is never trained on. `exact` is False when the environment edited the turn (so `logp_T` is not that of what is
    trained on).
    """

    text: str
    raw_text: str
    tokens_T: Tensor
    logp_T: Tensor
    char_of_T: tuple[int, ...] = ()
    temperature: float = 1.0
    calls: tuple[Call, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    context: tuple[Message, ...] | None = None
    observation: tuple[Part, ...] = ()
    observation_role: Literal["user", "tool", "inside"] = "user"
    prefill: str = ""
    exact: bool = True

    def __post_init__(self) -> None:
        if len(self.tokens_T) != len(self.logp_T):
            raise ValueError(
                f"A turn needs one log-probability per action: {len(self.tokens_T)} actions, {len(self.logp_T)} values."
            )

    def __len__(self) -> int:
        return len(self.tokens_T)

    def spelling(self, start: int, end: int) -> Tensor:
        """Which actions spell something of `raw_text[start:end]`, bool `[T]`."""
        begin_T = torch.tensor(self.char_of_T, dtype=torch.long)
        end_T = torch.tensor([*self.char_of_T[1:], len(self.raw_text)][: len(self)], dtype=torch.long)
        return (begin_T < end) & (end_T > start)


@dataclass(eq=False)
class Rollout:
    """One sampled trajectory for one prompt.

    `output` is what it produced: the final text, or a decoded image. `end` says how it ended; a rollout that ended in
    "error" (a responder that failed for good) leaves its group's statistics and the loss.
    """

    prompt: Prompt
    turns: list[Turn]
    end: End = "eos"
    output: Any = None
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All turns' text, without special tokens."""
        return "".join(turn.text for turn in self.turns)

    @property
    def raw_text(self) -> str:
        return "".join(turn.raw_text for turn in self.turns)

    @property
    def length(self) -> int:
        """The number of the policy's own actions."""
        return sum(len(turn) for turn in self.turns)

    @property
    def logp_T(self) -> Tensor:
        return torch.cat([turn.logp_T for turn in self.turns]) if self.turns else torch.zeros(0)

    @property
    def calls(self) -> list[Call]:
        return [call for turn in self.turns for call in turn.calls]

    def contexts(self) -> list[range]:
        """The turns, split where a fresh context opens: each range is one sequence to score."""
        opens = [i for i, turn in enumerate(self.turns) if i == 0 or turn.context is not None]
        return [range(start, end) for start, end in zip(opens, [*opens[1:], len(self.turns)])]


@dataclass(frozen=True)
class Row:
    """One trained row: some turns of one rollout, scored in one context.

    Plain GRPO has one row a rollout. A plan and its picture, a turn in a fresh context, a tree's edge or a denoising
    transition are each a row. `part` names what it is where a loss treats rows differently ("text", "image", …).
    """

    rollout: int
    turns: range
    part: str = "text"
