"""Selftok's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.functional import token_schedule as schedule


def _stages(total: float, count: int, stages: str, k_per_stage: str) -> tuple[list[float], list[int]]:
    if not stages:
        return [total], [count]
    return [float(end) for end in stages.split(",")], [int(tokens) for tokens in k_per_stage.split(",")]


def token_schedule(n_timesteps: int, K: int, stages: str, k_per_stage: str) -> dict[str, Any]:
    last = [0, *schedule.last_timesteps(n_timesteps, *_stages(n_timesteps, K, stages, k_per_stage))]
    return {"key_timesteps": last, "range_first": last[:2], "range_last": last[-2:]}


def token_schedule_continuous(t: list[float], K: int, stages: str, k_per_stage: str) -> list[int]:
    staged = _stages(1000, K, stages, k_per_stage)
    return [schedule.staged_token(time, *staged) for time in t]


def token_schedule_logit_normal(t: list[float], K: int, m: float = 0.0, s: float = 1.0) -> list[int]:
    return [schedule.logit_normal_token(time, K, mean=m, std=s) for time in t]
