"""Open-R1, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F32
from gamutrl.functional import shaping
from gamutrl.rewards import benchmarks, lengths, maths, repetition, tags

_BOXED_FIRST = maths.Reading(kinds=("latex",), unanchored=False, boxed_priority=0, first_match=True)
_GOLD = maths.Reading(first_match=True)
_LAYOUT = (("<think>\n", "\n</think>\n"), ("<answer>\n", "\n</answer>\n"))


def accuracy_reward(completions: list[str], solution: list[str]) -> list[float | None]:
    return [_verified(text, gold) for text, gold in zip(completions, solution)]


def _verified(text: str, gold: str) -> float | None:
    same = maths.math_equal(text, gold, read=_BOXED_FIRST, read_gold=_GOLD)
    return None if same is None else float(same)


def format_reward(completions: list[str]) -> list[float]:
    return [tags.tag_format(text + "\n", _LAYOUT, between="nothing", after=True) for text in completions]


def code_format_reward(completions: list[str], language: str) -> list[float]:
    steps = ("\n</think>\n<answer>\n", f"```{language}", "```", "\n</answer>\n")
    return [float(text.startswith("<think>\n") and tags.in_order(text[8:] + "\n", steps)) for text in completions]


def tag_count_reward(completions: list[str]) -> list[float]:
    marks = ("<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>")
    return [tags.exactly_once(text, marks) for text in completions]


def reasoning_steps_reward(completions: list[str]) -> list[float]:
    return [min(1.0, len(benchmarks.step_marks(text)) / 3) for text in completions]


def len_reward(completions: list[str], solution: list[str]) -> Tensor:
    right = [_verified(text, gold) for text, gold in zip(completions, solution)]
    lengths_R = torch.tensor([float(len(text)) for text in completions])
    return shaping.length_rank(lengths_R, torch.tensor([value is None or value > 0 for value in right]))


def cosine_scaled_reward(
    completions: list[str],
    solution: list[str],
    max_len: int,
    min_value_wrong: float = -1.0,
    max_value_wrong: float = -0.5,
    min_value_correct: float = 0.5,
    max_value_correct: float = 1.0,
) -> list[float]:
    values: Any = {
        "longest": max_len,
        "when_right": (max_value_correct, min_value_correct),
        "when_wrong": (min_value_wrong, max_value_wrong),
        "clip": False,
    }
    right = [_verified(text, gold) for text, gold in zip(completions, solution)]
    return [
        1.0 if ok is None else lengths.cosine_length(len(text), bool(ok), **values)
        for text, ok in zip(completions, right)
    ]


def repetition_penalty_reward(completions: list[str], ngram_size: int, max_penalty: float) -> list[float]:
    return [-max_penalty * repetition.repeated_words(text, n=ngram_size) for text in completions]


def soft_overlong_punishment(lengths: F32, max_completion_len: int, soft_punish_cache: int) -> Tensor:
    return shaping.soft_overlong(lengths, max_completion_len, soft_punish_cache)
