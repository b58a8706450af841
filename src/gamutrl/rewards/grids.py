"""Answers that are a grid of numbers: reading one, and how much of it is right."""

from __future__ import annotations

from collections.abc import Sequence

_SEPARATORS = str.maketrans("`,;[]()\n\t", " " * 9)


def grid_in(text: str, cells: int | None = None) -> list[int] | None:
    """The numbers of a text that holds nothing else, separated by blanks, commas or the like; None if it holds more.

    cells: numbers must lie in 1 … cells.
    """
    words = text.translate(_SEPARATORS).split()
    if not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        return None
    grid = [int(word) for word in words]
    return grid if cells is None or all(1 <= cell <= cells for cell in grid) else None


def cells_right(found: Sequence[int] | None, true: Sequence[int]) -> float:
    """The share of cells that hold the right number; 0 for a grid of another size (Jigsaw-R1, 2505.23590)."""
    if found is None or len(found) != len(true) or not true:
        return 0.0
    return sum(a == b for a, b in zip(found, true)) / len(true)


def neighbours_right(
    found: Sequence[int] | None, true: Sequence[int], rows: int, columns: int, *, by_value: bool = True
) -> float:
    """The share of neighbouring cells (right and below) whose numbers are such neighbours in the truth as well.

    by_value: a number's true place is where it stands in the truth; otherwise it is the number that stands at its
    index, as in lists of places by piece. 0 for a grid of another size or of one cell. Source: Jigsaw-R1, an option.
    """
    if found is None or len(found) != len(true) or len(true) != rows * columns:
        return 0.0
    place = {cell: i for i, cell in enumerate(true)} if by_value else {i + 1: cell - 1 for i, cell in enumerate(true)}
    right, pairs = 0, 0
    for i in range(len(true)):
        for step in ([1] if (i + 1) % columns else []) + ([columns] if i + columns < len(true) else []):
            here, there = place.get(found[i]), place.get(found[i + step])
            pairs += 1
            if here is not None and there is not None and there - here == step:
                right += step == columns or here // columns == there // columns
    return right / pairs if pairs else 0.0
