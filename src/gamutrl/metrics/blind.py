"""What a policy gets that does not look: the best constant answer, the best answer to each question's text."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from gamutrl.core import Prompt

Scorer = Callable[[Any, Prompt], float]
"""`(answer, row) -> value`: what an answer to a row is worth."""


def best_constant(rows: Sequence[Prompt], candidates: Sequence[Any], scorer: Scorer) -> tuple[Any, list[float]]:
    """The one answer that, given to every row, scores best, and what it gets on each (ties: the first candidate)."""
    if not candidates:
        raise ValueError("The best constant answer needs candidates to choose from; pass the world's answers.")
    values = {i: [scorer(answer, row) for row in rows] for i, answer in enumerate(candidates)}
    best = max(values, key=lambda i: (sum(values[i]), -i))
    return candidates[best], values[best]


def text_only(
    rows: Sequence[Prompt],
    scorer: Scorer,
    *,
    seen: Sequence[Prompt] | None = None,
    text: Callable[[Prompt], Hashable] = lambda row: row.text,
) -> list[float]:
    """What each row gets if a question is given the answer that is best for its text, whatever the picture shows.

    seen: rows to learn those answers from (None: the rows themselves, an upper bound of what text can give). A question
    that was not seen scores NaN.
    """
    by_text: dict[Hashable, list[Prompt]] = {}
    for row in rows if seen is None else seen:
        by_text.setdefault(text(row), []).append(row)
    answer_of = {}
    for question, asked in by_text.items():
        candidates = list({repr(row.answer): row.answer for row in asked}.values())
        answer_of[question] = best_constant(asked, candidates, scorer)[0]
    return [scorer(answer_of[text(row)], row) if text(row) in answer_of else math.nan for row in rows]
