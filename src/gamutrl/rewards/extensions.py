"""Open-ended parts of an answer that a judge grades, and what is too general to earn much."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gamutrl.rewards.answers import to_number

GENERIC = (
    "further (?:diagnostic )?tests",
    "clinical history",
    "physical examination",
    "refer to specialist",
    "confirm the diagnosis",
)
"""TimeMaster's phrases (2506.13705) that say nothing about the case at hand."""


def graded_extension(extension: str, grade: str, *, generic: Sequence[str] = GENERIC, cap: float = 0.4) -> float:
    """A judge's grade of an extension in [0, 1], at most `cap` where it is generic; 0 if the grade is no number."""
    value = to_number(grade.strip()) or 0.0
    limit = cap if any(re.search(pattern, extension.lower()) for pattern in generic) else 1.0
    return min(max(value, 0.0), limit)
