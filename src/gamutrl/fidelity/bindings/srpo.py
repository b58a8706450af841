"""SRPO's released code, answered by ours."""

from __future__ import annotations

from gamutrl.fidelity import released
from gamutrl.rewards import grading, tags

BLOCKS = ("think", "answer", "reflection", "think", "answer")


def accuracy_reward(completion: str, answer: str) -> float:
    return released.srpo_accuracy(completion, answer)


def format_reward(completion: str) -> float:
    return 0.5 * tags.tag_format(completion, BLOCKS, before=True, after=" \t\n\r\f\v", once=True, nonempty=True)


def length_reward(completion: str) -> float | None:
    return released.srpo_length(completion)


def total_reward(response: str, answer: str) -> dict[str, float]:
    length = released.srpo_length(response)
    parts = (0.0, 0.0, 0.0)
    if length is not None:
        parts = accuracy_reward(response, answer), format_reward(response), 0.1 * length
    names = ("accuracy_rewards", "format_rewards", "length_rewards")
    return {"rewards": sum(parts), **dict(zip(names, parts))}


def verl_accuracy_reward(predict: str, ground_truth: str) -> float:
    said = [grading.boxed(predict, first=at_first) or "None" for at_first in (True, False)]
    first, last = (grading.same_answer(one, ground_truth) for one in said)
    return 0.75 * (first and last) - 0.25 * (not first and not last)
