"""GRPO-CARE's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.bindings.video_r1 import TYPES
from gamutrl.fidelity.inputs import F32, F64, Leaf64, gradient
from gamutrl.functional import shaping
from gamutrl.rewards import answers, groups, tags


def ema_update(param: F64, param_ema: F64, decay: float) -> Tensor:
    return shaping.moving_average(param_ema, param, decay)


def grpo_loss(
    rewards: F64,
    num_generations: int,
    per_token_logps: Leaf64,
    ref_logps: F64,
    completion_mask: F64,
    beta: float = 0.0,
) -> dict[str, Any]:
    advantages = compose.grouped(rewards, num_generations)
    loss = compose.grpo_loss(per_token_logps, advantages, completion_mask, ref=ref_logps, beta=beta, kl={"bound": 10})
    return {"advantages": advantages, "loss": loss, "grad_logps": gradient(loss, per_token_logps)}


def accuracy_reward(content: str, solution: str, problem_type: str) -> float:
    asked = tags.tag_text(solution, missing="empty")
    return answers.typed_accuracy(content, asked, problem_type, compare=TYPES, missing="empty") or 0.0


def format_reward(content: str) -> float:
    return tags.tag_format(content)


def consistency_bonus(
    accuracy_rewards: F32,
    format_rewards: F32,
    ref_logps: F32,
    answer_mask: F32,
    consistency_margin: float | None = 0.01,
    confidence_upper_bound: float | None = 0.95,
) -> dict[str, Tensor]:
    likelihood = groups.answer_likelihood(ref_logps, answer_mask)
    bonus = groups.consistency_bonus(
        likelihood,
        accuracy_rewards,
        torch.zeros_like(accuracy_rewards),
        cap=confidence_upper_bound,
        margin=consistency_margin or 0.0,
    )
    total = accuracy_rewards + format_rewards + bonus
    return {"reference_likelihood": likelihood, "bonus": bonus, "total": total}
