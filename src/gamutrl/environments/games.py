"""The moves that a model writes in its answer, read for board games (G1, 2505.13426)."""

from __future__ import annotations

import re

from gamutrl.data.worlds.boards import Cell
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
    pair, number = cells_in(text), _first_number(text)
    if pair is None and number is None:
        return nothing
    digits = [*pair[0], *pair[1]] if pair else [number or 0] * 4
    return sum(digit * size**place for digit, place in zip(digits, (3, 2, 1, 0)))


def cells_in(text: str) -> tuple[Cell, Cell] | None:
    """The pair of cells that the answer begins with, `(r, c) (r, c)`; None if it does not."""
    found = _PAIR.match(tag_text(text, missing="empty", strip=False))
    if found is None:
        return None
    a, b, c, d = (int(digit) for digit in found.groups())
    return (a, b), (c, d)


def _first_number(text: str) -> int | None:
    found = re.search(r"\d{1,18}", tag_text(text, missing="empty", strip=False))
    return int(found[0]) if found else None
