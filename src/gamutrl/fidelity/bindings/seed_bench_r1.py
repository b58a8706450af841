"""SEED-Bench-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import divergences
from gamutrl.rewards import answers, maths, tags


def grpo_loss(logps: F32, ref_logps: F32, advantages: F32, mask: F32, beta: float) -> dict[str, Any]:
    loss = compose.grpo_loss(logps, advantages, mask, ref=ref_logps, beta=beta, kl={"bound": 11})
    return {"loss": loss, "per_token_kl": divergences.kl_estimate(logps, ref_logps, bound=11)}


def accuracy_reward(completion: str, solution: str) -> float:
    if maths.math_equal(solution, completion):
        return 1.0
    truth = tags.tag_text(solution, missing="whole")
    return answers.accuracy(completion, truth[:1], compare=answers.starts_with_letter)


def format_reward(completion: str) -> float:
    return tags.tag_format(completion, after=True)
