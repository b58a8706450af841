"""Time-R1's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F32
from gamutrl.rewards import spans, tags


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
