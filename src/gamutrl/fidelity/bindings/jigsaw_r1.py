"""Jigsaw-R1's released code, answered by ours."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F32
from gamutrl.functional import advantages as adv
from gamutrl.functional.groups import consecutive


def group_advantage(rewards_per_func: F32, weights: F32, num_generations: int, reduction: str) -> Tensor:
    groups = consecutive(len(rewards_per_func), num_generations)
    if reduction == "none":
        return adv.normalize_then_sum(rewards_per_func * weights, groups, torch.ones_like(weights) / len(weights))
    return adv.group_normalize(adv.weighted_sum(rewards_per_func, weights), groups)
