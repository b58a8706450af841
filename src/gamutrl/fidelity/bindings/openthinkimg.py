"""OpenThinkIMG's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, I64
from gamutrl.functional import (
    probabilities,
)


def group_advantage(rewards: F32, num_generations: int) -> Tensor:
    return compose.grouped(rewards, num_generations)


def completion_mask(completion_ids: I64, eos: int) -> Tensor:
    return probabilities.mask_until(completion_ids, eos).long()
