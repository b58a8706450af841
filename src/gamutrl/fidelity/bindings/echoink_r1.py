"""EchoInk-R1's released code, answered by ours."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32


def reward_shaping_and_advantage(
    rewards_per_func: F32, lengths: F32, weighted_reward: bool, len_control: bool
) -> dict[str, Tensor]:
    weight = torch.tensor([2.0 if weighted_reward else 1.0, 1.0])
    return compose.shaped_group(rewards_per_func, lengths, (160, 256) if len_control else None, weight=weight)
