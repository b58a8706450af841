"""GRIT's released code, answered by ours."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32


def group_advantage(rewards_per_func: F32, idx_gpt_reward: int, num_generations: int) -> dict[str, Tensor]:
    judged = torch.arange(rewards_per_func.shape[1]) == idx_gpt_reward
    rewards = torch.where(judged, (rewards_per_func > 0).float(), rewards_per_func).sum(1)
    return {"rewards": rewards, "advantages": compose.grouped(rewards, num_generations)}
