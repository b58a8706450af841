"""R1-Omni's released code, answered by ours."""

from __future__ import annotations

from gamutrl.rewards import answers, maths, tags


def accuracy_reward(completion: str, solution: str) -> float:
    if maths.math_equal(solution, completion):
        return 1.0
    return answers.accuracy(completion, solution, compare=answers.same_text, missing="whole", multiline=False)


def format_reward(completion: str) -> float:
    return tags.tag_format(completion)
