"""VQ-Insight's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32


def reward_shaping_and_advantage(
    rewards_per_func: F32, shuffled_accuracy: F32, lengths: F32, temporal: bool, len_control: bool
) -> dict[str, Tensor]:
    return compose.shaped_group(
        rewards_per_func, lengths, (320, 512) if len_control else None, shuffled_accuracy if temporal else None
    )
