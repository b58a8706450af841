"""Visionary-R1's released code, answered by ours."""

from __future__ import annotations

from gamutrl.functional import (
    shaping,
)


def cosine_kl_coefficient(beta: float, epoch: float) -> float:
    return shaping.schedule(beta, 0.0, epoch, "cosine")
