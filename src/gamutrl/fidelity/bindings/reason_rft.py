"""Reason-RFT's released code, answered by ours."""

from __future__ import annotations

from functools import partial

from gamutrl.rewards import answers, calls, lengths, maths, tags


def accuracy_reward(completion: str, solution: str) -> float:
    same = answers.accuracy(completion, solution, compare=answers.same_text, missing="whole")
    if same or tags.tag_text(completion) is not None:
        return same
    return float(bool(maths.math_equal(solution, completion)))


def caption_format_reward(completion: str) -> float:
    return tags.tag_format(completion, ("summary", "caption", "think", "answer"))


def math_accuracy_reward(completion: str, solution: str) -> float:
    compare = partial(answers.within_tolerance, at_zero=0.0)
    return answers.accuracy(completion, solution, compare=compare, missing="whole")


def reasoning_steps_reward(completion: str) -> float:
    return lengths.reasoning_steps(completion)


def len_reward(completions: list[str], solutions: list[str], current_step: int) -> list[float]:
    compare = partial(answers.number_or_text, number=answers.to_number, otherwise=answers.same_text)
    right = [
        bool(answers.accuracy(said, asked, compare=compare, missing="whole"))
        for said, asked in zip(completions, solutions)
    ]
    values = lengths.shorter_is_better([len(said) for said in completions], right)
    return [0.05 * value * (current_step >= 800) for value in values]


def trance_partial_accuracy_reward(completion: str, solution: str) -> float:
    return answers.accuracy(completion, solution, compare=calls.calls_score, missing="whole")


def trance_only_full_accuracy_reward(completion: str, solution: str) -> float:
    compare = partial(calls.calls_score, credits=(1, 0, 0, 0))
    return answers.accuracy(completion, solution, compare=compare, missing="whole")


def trance_penalty_accuracy_reward(completion: str, solution: str) -> float:
    compare = partial(calls.calls_score, credits=(1, -0.25, -0.25, -0.5))
    return answers.accuracy(completion, solution, compare=compare, missing="whole")
