"""VQ-Insight's released code, answered by ours."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.rewards import answers, tags


def reward_shaping_and_advantage(
    rewards_per_func: F32, shuffled_accuracy: F32, lengths: F32, temporal: bool, len_control: bool
) -> dict[str, Tensor]:
    return compose.shaped_group(
        rewards_per_func, lengths, (320, 512) if len_control else None, shuffled_accuracy if temporal else None
    )


TYPES: dict[str, answers.Compare] = {
    **answers.PROBLEM_TYPES,
    "multiple choice": answers.same_text,
    "numerical": partial(answers.same_number, same_style=True),
    "multi-dimension": partial(answers.relative_accuracy_of, keys=("spatial", "temporal", "consistency")),
}


def accuracy_reward(completion: str, solution: str, problem_type: str) -> float:
    return answers.typed_accuracy(completion, solution, problem_type, compare=TYPES, missing="empty") or 0.0


def format_reward(completion: str) -> float:
    return tags.tag_format(completion)
