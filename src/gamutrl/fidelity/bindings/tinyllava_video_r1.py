"""TinyLLaVA-Video-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import divergences
from gamutrl.rewards import answers, combine, lengths, maths, tags


def group_advantage(rewards: F32, group_size: int) -> Tensor:
    return compose.grouped(rewards, group_size)


def grpo_loss(logps: F32, ref_logps: F32, advantages: F32, mask: F32, beta: float) -> dict[str, Any]:
    loss = compose.grpo_loss(logps, advantages, mask, ref=ref_logps, beta=beta, kl={"clamp": 100})
    return {"loss": loss, "per_token_kl": divergences.kl_estimate(logps, ref_logps, clamp=100)}


def accuracy_reward(completion: str, solution: str) -> float:
    if maths.math_equal(solution, completion):
        return 1.0
    return answers.accuracy(completion, solution, compare=answers.starts_with_letter, missing="whole", multiline=False)


def format_reward(completion: str) -> float:
    laid_out = tags.tag_format(completion, once=True)
    return laid_out * (0.5 + 0.5 * lengths.thought_share(completion))


def combined_reward(accuracy: F32, format: F32) -> Tensor:
    return combine.signed(accuracy, format)
