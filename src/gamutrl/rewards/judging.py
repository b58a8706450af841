"""What a judge's reply says: verdicts and grades, read from free text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from gamutrl.rewards.answers import to_number
from gamutrl.rewards.tags import Tag, tag_text


def verdict(reply: str, *, after: str = "Judgement:", yes: str = "1") -> bool:
    """Whether `yes` occurs after the last marker; a reply without the marker must be `yes` and nothing else."""
    _, marker, rest = reply.rpartition(after)
    return yes in rest if marker else reply.strip() == yes


def true_or_false(reply: str, *, after: str = "## Equivalence Judgement") -> bool | None:
    """The one of "true" and "false" that occurs after the last marker, case aside; None if both or neither do."""
    rest = reply.rpartition(after)[2].lower()
    true, false = "true" in rest, "false" in rest
    return true if true != false else None


def tagged_verdict(
    reply: str, tag: Tag = "judge", *, yes: Sequence[str] = ("true", "True"), no: Sequence[str] = ("false", "False")
) -> bool | None:
    """Whether the tag holds a word for yes or, failing that, one for no; None if it holds neither."""
    inside = tag_text(reply, tag, missing="empty")
    return True if any(word in inside for word in yes) else False if any(word in inside for word in no) else None


def grade_after(reply: str, word: str = "score", *, within: int = 5) -> float | None:
    """The number in the few characters after the last `word`; letters and marks between them are left out."""
    plain = re.sub(r"[^\w\s.]", "", reply.lower())
    _, found, rest = plain.rpartition(word)
    return to_number(re.sub(r"[^0-9.]", "", rest[:within])) if found else None


def positive_grade(reply: str) -> float | None:
    """`grade_after` made 0 or 1 (GRIT, 2505.15879); None where there is no grade."""
    grade = grade_after(reply)
    return None if grade is None else float(grade > 0)


def one_or_zero(reply: str) -> int:
    """1 where a reply says 1, -1 where it says 0 (even beside a 1), 0 where it says neither (R1-Reward)."""
    said = reply.replace("output:", "").strip()
    return -1 if "0" in said else int("1" in said)


def spoken_choice(answer: str, *, word: str = "response") -> str:
    """An answer 1 or 2 in words, "response 1 is better"; another number says that the two are the same."""
    if not re.fullmatch(r"[+-]?\d{1,18}", answer):
        return answer
    number = int(answer)
    return f"{word} {number} is better" if number in (1, 2) else f"two {word} are the same"


def labelled_score(
    reply: str, label: str, digits: str = "0-9", *, which: Literal["first", "last"] = "first"
) -> float | None:
    """The number that follows a label ("Final Score:"), if its first digit is one of these; None without one."""
    found = re.findall(rf"{re.escape(label)}\s*+([{digits}](?:\.\d{{1,18}})?)", reply)
    return float(found[0 if which == "first" else -1]) if found else None


def final_score(reply: str, *, after: str = "Final Score:") -> int:
    """The first whole number after the last marker, or in the whole reply without it; 0 if there is none."""
    found = re.search(r"\d{1,18}", reply.rpartition(after)[2])
    return int(found[0]) if found else 0
