"""Video-R1's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import divergences
from gamutrl.rewards import answers, groups, tags


def group_advantage(rewards: F32, group_size: int) -> Tensor:
    return compose.grouped(rewards, group_size)


def grpo_loss(logps: F32, ref_logps: F32, advantages: F32, mask: F32, beta: float) -> dict[str, Any]:
    loss = compose.grpo_loss(logps, advantages, mask, ref=ref_logps, beta=beta, kl={"bound": 10})
    return {"loss": loss, "per_token_kl": divergences.kl_estimate(logps, ref_logps, bound=10)}


TYPES: dict[str, answers.Compare] = {
    **answers.PROBLEM_TYPES,
    "multiple choice": answers.same_text,
    "numerical": partial(answers.same_number, same_style=True),
}


def accuracy_reward(completion: str, problem_type: str, solution: str) -> float:
    asked = tags.tag_text(solution, missing="empty")
    return answers.typed_accuracy(completion, asked, problem_type, compare=TYPES, missing="empty") or 0.0


def format_reward(completion: str) -> float:
    return tags.tag_format(completion)


def tgrpo_total_reward(
    accuracy: F32,
    format: F32,
    has_video: bool,
    lengths: F32,
    shuffled_accuracy: F32,
    temporal: bool = True,
    len_control: bool = True,
) -> dict[str, Any]:
    group, other = torch.zeros_like(accuracy), torch.zeros_like(shuffled_accuracy)
    total, flag = accuracy + format, 0.5
    if has_video and temporal:
        ordered = groups.beats_auxiliary_bonus(accuracy, group, shuffled_accuracy, other)
        total, flag = total + ordered, float(accuracy.mean() >= 0.8 * shuffled_accuracy.mean())
    if len_control:
        total = total + groups.length_window_bonus(accuracy, lengths, group)
    return {"rewards": total, "temporal_flag": flag}
