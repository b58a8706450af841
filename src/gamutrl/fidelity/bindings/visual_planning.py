"""Visual Planning's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import (
    shaping,
)


def group_advantage(rewards: F32, num_generations: int) -> Tensor:
    return compose.grouped(rewards, num_generations)


def kl_beta_schedule(start: float, end: float, mode: str, step: int, total: int) -> float:
    if mode == "linear" and start > end:
        return end  # Released: clamped to [start, end], which a falling schedule turns round.
    shape: Any = "linear" if mode == "linear" else "constant"
    return shaping.schedule(start, end, min(step / total, 1.0), shape)
