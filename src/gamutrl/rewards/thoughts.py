"""Whether a written thought is worth learning from: long enough, in steps, about the question, and to the answer."""

from __future__ import annotations

import re
from typing import Literal

from gamutrl.rewards.answers import edit_similarity
from gamutrl.rewards.tags import tag_text

Fault = Literal[
    "ok",
    "format_missing",
    "think_too_short",
    "answer_too_short",
    "not_enough_steps",
    "final_step_no_target_ref",
    "low_similarity",
]
_CUE = re.compile(
    r"\b(?:Step\s?\d{1,4}|First(?:ly)?|Second|Third|Next|Then|Afterwards?|Finally|Last|Conclusion)\b", re.IGNORECASE
)


def trace_fault(
    text: str,
    question: str,
    answer_from_thought: str,
    *,
    think_words: int = 30,
    answer_words: int = 20,
    steps: int = 3,
    similarity: float = 0.8,
) -> tuple[Fault, float]:
    """What keeps a trace out of the cold start ("ok": nothing), and how like its answer is the one from its thought.

    The last step must hold a word of the question of three letters or more. Source: 3D-R1's Scene-30K (2507.23478).
    """
    thought, answer = tag_text(text, "think"), tag_text(text)
    likeness = edit_similarity(answer_from_thought, answer or "")
    if thought is None or answer is None:
        return "format_missing", likeness
    if len(thought.split()) < think_words:
        return "think_too_short", likeness
    if len(answer.split()) < answer_words:
        return "answer_too_short", likeness
    cues = [match.start() for match in _CUE.finditer(thought)]
    if len(cues) < steps:
        return "not_enough_steps", likeness
    last = thought[cues[-1] :].lower()
    if not any(len(word) >= 3 and word in last for word in re.findall(r"\w+", question.lower())):
        return "final_step_no_target_ref", likeness
    return ("ok" if likeness >= similarity else "low_similarity"), likeness
