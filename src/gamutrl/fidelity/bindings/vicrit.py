"""ViCrit's released code, answered by ours."""

from __future__ import annotations

from gamutrl.fidelity import released
from gamutrl.rewards import answers


def extract_answer(text: str) -> str | None:
    return released.vicrit_answer(text)


def extract_changed_segment(before: str, after: str) -> list[str]:
    return answers.changed_words(before, after)


def relaxed_correctness(prediction: str, original_phrase: str, changed_phrase: str) -> bool:
    return bool(answers.names_change(prediction, original_phrase, changed_phrase))
