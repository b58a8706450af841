"""Rewards of rendered text: what a reader of pictures found, against the words that a prompt puts in quotes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from gamutrl.rewards.answers import MAX_CHARACTERS

Line = Sequence[object]
"""`[text, confidence]`."""


def quoted(prompt: str) -> str:
    """The text between a prompt's first two double quotes; empty if it has none."""
    parts = prompt.split('"', 2)
    return parts[1] if len(parts) == 3 else ""


def rendered_text(lines: Sequence[Line] | None, target: str) -> float:
    """1 - edit distance / length of the target, at least 0; 1 where the target stands inside what was read.

    Blanks and case aside; lines that were read without confidence do not count. Source: Flow-GRPO (2505.05470).
    """
    read = "".join(str(text) for text, confidence in lines or () if float(str(confidence)) > 0)
    one, other = (text.replace(" ", "").lower()[:MAX_CHARACTERS] for text in (read, target))
    if not other or other in one:
        return float(bool(other))
    return 1 - min(Levenshtein.distance(one, other), len(other)) / len(other)


def plain_text(text: str, *, blanks: bool = True) -> str:
    """A text without punctuation: Latin letters, digits, Chinese characters; in lower case with single blanks.

    blanks: False drops blanks and keeps the case, as for Chinese.
    """
    text = re.sub(r"[^a-zA-Z0-9À-ÖØ-öø-ÿŒœŸ\u4e00-\u9fa5\s]", "", text)
    return " ".join(text.split()).lower() if blanks else re.sub(r"\s+", "", text)


def words_read(read: str, target: str, *, blanks: bool = True) -> tuple[Counter[str], Counter[str]]:
    """The target's words (or, without `blanks`, its characters) that were read, and those that were not.

    Order and whatever else was read do not matter. Source: X-Omni's LongText-Bench (2507.22058).
    """
    one, other = (plain_text(text, blanks=blanks) for text in (read, target))
    said, asked = (Counter(text.split() if blanks else text) for text in (one, other))
    return asked & said, asked - said
