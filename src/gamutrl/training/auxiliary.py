"""Groups sampled beside the trained ones: what the policy does when its prompt is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from gamutrl.core import Batch, Context, Prompt
from gamutrl.data.transforms import Change
from gamutrl.policies.base import Policy
from gamutrl.training.defaults import sample_groups

if TYPE_CHECKING:
    from gamutrl.training.rl import RL


@dataclass(frozen=True)
class WithAuxiliary:
    """Samples the groups as ever, and beside each that has media of a kind a group of its changed prompt.

    A `rollout`. The changed groups are left in `context.auxiliary[name]`, to be compared with and never trained on;
    each carries the number (`group_R`) of the group that it stands beside. change: `(prompt, seed) -> prompt`, the same
    for all rollouts of a group. share: of `group_size`, rounded down, at least 1. kind: prompts without such a part
    have no changed group.
    """

    name: str
    change: Change
    share: float = 0.5
    kind: str = "video"

    def __call__(self, stage: RL, prompts: Sequence[Prompt], context: Context) -> Batch:
        batch = sample_groups(stage, prompts, context)
        with_kind = [
            p for p, prompt in enumerate(batch.prompts) if any(part.kind == self.kind for part in prompt.media)
        ]
        generator = context.generator(self.name)
        seeds = torch.randint(2**31, (len(with_kind),), generator=generator).tolist()
        changed = [self.change(batch.prompts[p], seed) for p, seed in zip(with_kind, seeds)]
        policy: Policy = context.models[stage.trains]
        seed = int(generator.initial_seed())
        size = self.beside(stage.group_size)
        other = policy.rollout(changed, size, stage.environment, stage.sampling, seed=seed)
        # A policy may leave out prompts that are too long, so prompts are known by themselves, not by their place.
        group_of = {id(prompt): p for prompt, p in zip(changed, with_kind)}
        groups = torch.tensor([group_of[id(prompt)] for prompt in other.prompts], dtype=torch.long)
        context.auxiliary[self.name] = replace(other, group_R=groups[other.prompt_R])
        return batch

    def beside(self, group_size: int) -> int:
        """The size of a changed group."""
        return max(1, int(group_size * self.share))
