"""Rewards of rendered text: what a reader of pictures found, against the words that a prompt puts in quotes."""

from __future__ import annotations

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
