"""The moves that a model writes in its answer, read for board games (G1, 2505.13426)."""

from __future__ import annotations

import re

from gamutrl.rewards.tags import tag_text

_PAIR = re.compile(r"\((\d{1,9}),\s*+(\d{1,9})\)\s*+\((\d{1,9}),\s*+(\d{1,9})\)")


def move_in(text: str, moves: int = 4) -> int:
    """The number of the move that the answer names: its first whole number below `moves`, else `moves` (no move)."""
    number = _first_number(text)
    return moves if number is None else min(number, moves)


def cells_code(text: str, size: int, nothing: int) -> int:
    """The number of the pair of cells `(r, c) (r, c)` that the answer is, in base `size`.

    An answer that holds a number only is that digit four times; one without a number is `nothing`. Source: G1.
    """
    answer = tag_text(text, missing="empty", strip=False)
    found = _PAIR.match(answer)
    number = _first_number(text)
    if found is None and number is None:
        return nothing
    digits = [int(digit) for digit in found.groups()] if found else [number or 0] * 4
    return sum(digit * size**place for digit, place in zip(digits, (3, 2, 1, 0)))


def _first_number(text: str) -> int | None:
    found = re.search(r"\d{1,18}", tag_text(text, missing="empty", strip=False))
    return int(found[0]) if found else None
