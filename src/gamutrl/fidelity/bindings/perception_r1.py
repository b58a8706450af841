"""Perception-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64
from gamutrl.functional import divergences


def group_advantage(
    rewards_per_func: F32,
    num_generations: int,
    kl_approximator: str,
    no_mean_for_same_reward: bool,
    reward_scale: float,
) -> Tensor:
    kept: Any = {"flat": "raw", "clip": 1} if no_mean_for_same_reward else {}
    scale: Any = "none" if kl_approximator == "fullkimi" else "group"
    return compose.grouped(rewards_per_func.sum(1) * reward_scale, num_generations, scale=scale, **kept)


def kl_estimators(logp: F64, ref_logp: F64) -> dict[str, Tensor]:
    names: dict[str, divergences.Estimator] = {"k1": "k1", "k3": "k3", "kimi": "k2"}
    return {name: divergences.kl_estimate(logp, ref_logp, kind) for name, kind in names.items()}
