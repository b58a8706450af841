"""Scores of rollouts as answers to other words than those that asked for them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.data.transforms import WithPrefix
from gamutrl.rewards.base import Score


def told(batch: Batch, word: str) -> Batch:
    """The same rollouts as answers to their prompts with a word in front."""
    prompts = [WithPrefix(f"{word}. ")(prompt, 0) for prompt in batch.prompts]
    rollouts = [replace(rollout, prompt=prompts[p]) for p, rollout in zip(batch.prompt_R.tolist(), batch.rollouts)]
    return replace(batch, prompts=prompts, rollouts=rollouts)


@dataclass(frozen=True)
class Told:
    """A reward's `score` of the prompt with a word in front: what a reward model makes of it, its bias with it."""

    score: Score
    word: str

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        return self.score(told(batch, self.word), context)
