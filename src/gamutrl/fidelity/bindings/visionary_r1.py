"""Visionary-R1's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

from gamutrl.fidelity import released
from gamutrl.functional import shaping
from gamutrl.rewards import answers, tags


def cosine_kl_coefficient(beta: float, epoch: float) -> float:
    return shaping.schedule(beta, 0.0, epoch, "cosine")


number_or = partial(answers.number_or_text, number=released.visionary_r1_number, wanted=released.plain_float)


def _lower(given: str, truth: str) -> float:
    return answers.edit_similarity(given.lower(), truth.lower())


TYPES: dict[str, answers.Compare] = {"OCR": partial(number_or, otherwise=_lower), "free-form": answers.rouge}


def accuracy_reward(content: str, solution: str, problem_type: str, tag: str | None = "answer") -> float | None:
    asked = tags.tag_text(solution, missing="empty")
    return answers.typed_accuracy(
        content, asked, problem_type, compare=TYPES, default=number_or, missing="empty", tag=tag
    )


def format_reward(content: str) -> float:
    return tags.tag_format(content, ("info", "think", "answer"), between=("one_space", "space"))


def caption_reward(
    contents: list[str],
    solution: str,
    problem_type: str,
    captioner_answers: list[str],
    caption_reward_weight: float = 0.1,
) -> dict[str, Any]:
    captions = [tags.tag_text(content, "info", multiline=False) for content in contents]
    scores = [accuracy_reward(reply, solution, problem_type, None) or 0.0 for reply in captioner_answers]
    honest = [reply != "Hacking Sample" for reply in captioner_answers]
    rewards = [caption_reward_weight * score * known for score, known in zip(scores, honest)]
    return {
        "captions": [caption for caption in captions if caption is not None],
        "rewards": rewards + [0.0] * (len(contents) - len(rewards)),
    }
