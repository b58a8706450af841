"""What a reward or a hook may ask for beyond the rollouts."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from gamutrl.core.batch import Batch
from gamutrl.core.prompt import Message
from gamutrl.core.rollout import Rollout


class Responder(Protocol):
    """Answers conversations with text: a rule, a frozen policy, an HTTP endpoint."""

    def __call__(self, conversations: Sequence[Sequence[Message]]) -> list[str]: ...


class ResponderError(RuntimeError):
    """A responder failed for good: its rollout leaves its group's statistics and the loss, and is counted."""


@dataclass
class Context:
    """One step's surroundings.

    `step` counts from 0, `steps` is the stage's length; `models` are the recipe's named policies; `auxiliary` holds
    batches that a `rollout` hook sampled beside the trained one (a frame-shuffled group, say), by name; `metrics`
    collects what hooks want to see in `metrics.jsonl`. `score_batch` is set by the stage: it scores any batch with the
    stage's rewards, for hooks that must look before they sample again.
    """

    step: int = 0
    steps: int = 1
    seed: int = 0
    models: Mapping[str, Any] = field(default_factory=dict)
    responders: Mapping[str, Responder] = field(default_factory=dict)
    auxiliary: dict[str, Batch] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    score_batch: Callable[[Batch, Sequence[str] | None], Batch] | None = None
    rewards: dict[str, tuple[list[Rollout], Tensor]] = field(default_factory=dict)

    @property
    def progress(self) -> float:
        """How much of the stage is done, in [0, 1]."""
        return min(1.0, self.step / max(1, self.steps - 1)) if self.steps > 1 else 0.0

    @property
    def policy(self) -> Any:
        return self.models["policy"]

    def generator(self, name: str) -> torch.Generator:
        """Randomness of its own for each name and step: what one hook draws never shifts another's draws."""
        mixed = zlib.crc32(f"{self.seed}/{self.step}/{name}".encode())
        return torch.Generator().manual_seed(mixed)

    def score(self, batch: Batch, names: Sequence[str] | None = None) -> Batch:
        """The batch with its reward table, all of the stage's rewards or those named."""
        if self.score_batch is None:
            raise RuntimeError("This context belongs to no stage, so it has no rewards to score with.")
        return self.score_batch(batch, names)

    def reward(self, batch: Batch, name: str) -> Tensor:
        """One reward of this batch, `[R]`, computed at most once."""
        if "reward_RK" in batch and name in batch.reward_names:
            return batch.reward(name)
        rollouts, value_R = self.rewards.get(name, (None, None))
        if rollouts is not batch.rollouts or value_R is None:
            value_R = self.score(batch, [name]).reward(name)
            self.rewards[name] = (batch.rollouts, value_R)
        return value_R

    def respond(self, name: str, conversations: Sequence[Sequence[Message]]) -> list[str]:
        if name not in self.responders:
            have = ", ".join(self.responders) or "none"
            raise KeyError(f"No responder is called {name!r} (the stage names: {have}).")
        responder = self.responders[name]
        if hasattr(responder, "bind"):  # One that answers with a model of the run's.
            responder = responder.bind(self.models)
        return responder(conversations)
