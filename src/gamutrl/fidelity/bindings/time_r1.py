"""Time-R1's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F32, F64, tensor
from gamutrl.functional import (
    selection,
)
from gamutrl.rewards import answers, spans, tags


def policy_loss(logps: F32, ref_logps: F32, advantages: F32, mask: F32, beta: float, use_grpo: bool) -> Tensor:
    over: Any = "sequence" if use_grpo else "token"
    return compose.grpo_loss(logps, advantages, mask, ref=ref_logps, beta=beta, over=over)


read = partial(spans.in_answer, spans=spans.bare_spans_in)
score = partial(spans.span_score, read=read, denominator="hull", ordered=False, zero_length=0.0)


def format_reward(completion: str) -> float:
    return tags.tag_format(completion, strip=True)


def iou_reward(completion: str, solution: list[float]) -> float:
    return score(completion, solution)


def tiou_reward(completion: str, solution: list[float], duration: float) -> float:
    return score(completion, solution, duration, boundaries=True, clip=False)


def think_metrics(completion: str) -> dict[str, float]:
    return released.time_r1_think_metrics(completion)


def gaussian_sampling_probs(difficulty_percent: F64) -> Tensor:
    return selection.near(difficulty_percent / 100, 0.3, 0.2)


def epoch_filter_0070(difficulties: list[Any], k: int) -> Tensor:
    percent = [answers.to_number(value) for value in difficulties]
    return selection.evenly_ranked(tensor(percent, torch.float64) / 100, k, 0.0, 0.7)
