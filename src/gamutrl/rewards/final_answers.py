"""Chains of thought that end in a final answer: read, held against the truth by several graders, and tidied (MPO).

Source: Mixed Preference Optimization (2411.10442), whose preference pairs are made from answers graded so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from gamutrl.rewards.answers import MAX_CHARACTERS, Compare, anls, number_or_word, to_number
from gamutrl.rewards.charts import relaxed_match
from gamutrl.rewards.grading import boxed
from gamutrl.rewards.maths import maths

MARKERS = ("Final answer:", "Final Answer:", "答案:")
Style = Literal["marked", "boxed", "thought"]
"""How an answer is asked for: after a marker, in a box, or in a box behind a thought."""

Verdict = Literal["right", "wrong", "unreadable"]


class FinalAnswer(NamedTuple):
    """A response taken apart. fault: "" if it can be; "unmarked" without an answer, "misplaced" where it should not be.

    rationale: what stands before a marked answer, else None.
    """

    rationale: str | None
    answer: str | None
    fault: Literal["", "unmarked", "misplaced"] = ""


def final_answer(text: str, style: Style = "marked", *, shortest: int = 20) -> FinalAnswer:
    """The final answer of a response, or what is wrong with it.

    A marked answer is the last line after at least two others; a boxed one needs a response, a thought one a thought,
    of more than `shortest` characters.
    """
    if style == "marked":
        marker = next((one for one in MARKERS if one in text), None)
        if marker is None:
            return FinalAnswer(None, None, "unmarked")
        before, _, answer = (part.strip() for part in text.rpartition(marker))
        crowded = text.count(marker) > 2 or text.count("\n") < 2 or not before or "\n" in answer
        return FinalAnswer(None, None, "misplaced") if crowded else FinalAnswer(before, answer)
    thought, closing, rest = text.partition("</think>")
    if style == "thought":
        whole = text.startswith("<think>") and text.count("<think>") == text.count("</think>") == 1
        inside = boxed(rest) if whole and closing and len(thought) > shortest else None
    else:
        inside = (boxed(text) or text) if len(text) > shortest else None
    return FinalAnswer(None, inside) if inside is not None else FinalAnswer(None, None, "unmarked")


def same_words(given: str, truth: str) -> float:
    """1 if two answers are alike as VQA's graders have it: case, punctuation and articles aside, numbers in words."""
    return float(_vqa_words(given) == _vqa_words(str(truth)))


def same_option(given: str, truth: str) -> float:
    """1 if an answer starts with the true option's letter and a mark, `B.`, `(B)`, `B:`."""
    letter = option_letter(given)
    return float(letter is not None and letter.lower() == str(truth).strip().lower())


def option_letter(text: str) -> str | None:
    """The letter that an answer starts with, alone, in brackets or before a mark; None if it does not."""
    found = re.match(r"\(?+([A-Za-z])(?:[.):,]|$)", text.strip())
    return found[1] if found else None


def near_number(given: str, truth: str, *, tolerance: float = 1e-3) -> float:
    """1 if two numbers, their units and degrees aside, differ by at most a relative `tolerance`."""
    one, other = (to_number(re.sub(r"\\?%|\^?\\?circ|°|cm", "", str(text)).strip()) for text in (given, truth))
    if one is None or other is None:
        return 0.0
    return float(abs(one - other) <= tolerance * abs(other) + 1e-12)


GRADERS: Mapping[str, Compare] = {
    "relaxed_accuracy": relaxed_match,
    "vqa_score": same_words,
    "mc_score": same_option,
    "math_score": near_number,
    "latex_score": maths,
    "math_verify_score": maths,
    "anls": lambda given, truth: anls(given, [truth]),
}


def is_right(given: str, truth: str, graders: Sequence[Compare], *, above: float = 0.9) -> bool:
    """Whether two answers are equal, case aside, or some grader gives more than `above`."""
    if given.strip().lower() == truth.strip().lower():
        return True
    return any(grader(given, truth) > above for grader in graders)


def verdict(
    text: str, truth: str, style: Style = "marked", graders: Sequence[Compare] = ()
) -> tuple[Verdict, str | None]:
    """Which side of a preference pair a response belongs to, and the answer that it gives.

    Right ones are chosen; wrong ones are rejected for their answer, unreadable ones for their form.
    """
    answer = final_answer(text, style).answer
    if answer is None:
        return "unreadable", None
    return ("right" if is_right(answer, truth, graders) else "wrong"), answer


def one_in_the_other(chosen: tuple[str, str | None], rejected: tuple[str, str | None]) -> bool:
    """Whether a chosen (response, answer) has its answer within the rejected one's: no pair to learn from."""
    return chosen[1] is not None and rejected[1] is not None and chosen[1].lower() in rejected[1].lower()


def tidied(text: str, given: str, truth: str) -> str | None:
    """The response with its final answer cut to the truth where it holds it; None for a response of a single line."""
    head, newline, last = text.rpartition("\n")
    last, given = last.replace("**", ""), given.replace("**", "")
    said = option_letter(given) if re.fullmatch(r"[A-Za-z]", truth) else given
    if said is not None and truth.lower() in said.replace(",", "").lower():
        last = last.replace(given, truth)
    return f"{head}\n{last}" if newline else None


def _vqa_words(text: str) -> list[str]:
    words = re.sub(r"[^\w\s.]", " ", text[:MAX_CHARACTERS].lower()).split()
    numbers = {word: number_or_word(word) for word in words if word.isalpha()}
    plain = [f"{number:g}" if (number := numbers.get(word)) is not None else word.strip(".") for word in words]
    return [word for word in plain if word not in ("a", "an", "the")]
