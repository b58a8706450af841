"""Rules of board games, as G1 (2505.13426) plays them: 2048, match-three, Shisen-Sho. Boards are lists of rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

Board = Sequence[Sequence[int]]
"""2048: exponents of two, 0 for an empty cell."""
Tiles = Sequence[Sequence[Any]]
"""Match-three and Shisen-Sho: labels, None for an empty cell."""
Cell = tuple[int, int]
"""`(row, column)` from the top left."""

UP, RIGHT, DOWN, LEFT, STAY = range(5)
_STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))

# -- 2048 ------------------------------------------------------------------------------------------------------------


def slide(board: Board, direction: int) -> tuple[list[list[int]], int]:
    """The board after a move (UP, RIGHT, DOWN, LEFT; STAY changes nothing), and the sum of the tiles that it merged.

    Tiles slide to the wall; equal neighbours merge once, from the wall on. No new tile is put down.
    """
    if direction not in (UP, RIGHT, DOWN, LEFT):
        return [list(row) for row in board], 0
    lines = _turned(board, direction)
    moved, scores = zip(*(_to_the_left(line) for line in lines))
    return _turned(moved, direction), sum(scores)


def is_over(board: Board) -> bool:
    """Whether no move is left: no cell is empty and no two neighbours are equal."""
    if any(0 in row for row in board):
        return False
    return not any(a == b for lines in (board, list(zip(*board))) for line in lines for a, b in pairwise(line))


def board_text(board: Board) -> str:
    """A board as text, ` 2 | - ` a row."""
    return "\n".join("|".join(f" {2**cell if cell else '-'} " for cell in row) for row in board)


def _turned(board: Sequence[Sequence[int]], direction: int) -> list[list[int]]:
    """The board with its rows or columns as lines that start at the wall; its own inverse."""
    if direction == UP:
        return [list(line) for line in zip(*board)]
    if direction == RIGHT:
        return [list(row[::-1]) for row in board]
    if direction == DOWN:
        return [list(line) for line in zip(*(row[::-1] for row in board[::-1]))]
    return [list(row) for row in board]


def _to_the_left(line: Sequence[int]) -> tuple[list[int], int]:
    merged: list[int] = []
    score, may_merge = 0, False
    for tile in filter(None, line):
        if may_merge and merged[-1] == tile:
            merged[-1] += 1
            score += 2 ** merged[-1]
            may_merge = False
        else:
            merged.append(tile)
            may_merge = True
    return merged + [0] * (len(line) - len(merged)), score


# -- match-three -----------------------------------------------------------------------------------------------------


def matches(tiles: Tiles, *, run: int = 3) -> set[Cell]:
    """The cells in a row or column of at least so many equal tiles."""
    found: set[Cell] = set()
    rows, columns = len(tiles), len(tiles[0]) if tiles else 0
    lines = [[(r, c) for c in range(columns)] for r in range(rows)]
    lines += [[(r, c) for r in range(rows)] for c in range(columns)]
    for line in lines:
        start = 0
        for i in range(1, len(line) + 1):
            if i == len(line) or _at(tiles, line[i]) != _at(tiles, line[start]):
                if i - start >= run and _at(tiles, line[start]) is not None:
                    found.update(line[start:i])
                start = i
    return found


def swap(tiles: Tiles, one: Cell, other: Cell) -> tuple[set[Cell], int]:
    """The cells that swapping two neighbours removes at once, and their score n · (n - 1); nothing if none match.

    Such a swap, like one of cells that are no neighbours, is not a move.
    """
    if abs(one[0] - other[0]) + abs(one[1] - other[1]) != 1 or not (_inside(tiles, one) and _inside(tiles, other)):
        return set(), 0
    swapped = [list(row) for row in tiles]
    swapped[one[0]][one[1]], swapped[other[0]][other[1]] = _at(tiles, other), _at(tiles, one)
    found = matches(swapped)
    return found, len(found) * (len(found) - 1)


# -- Shisen-Sho ------------------------------------------------------------------------------------------------------


def can_connect(tiles: Tiles, one: Cell, other: Cell, *, turns: int = 2) -> bool:
    """Whether a path of empty cells with at most so many turns joins two equal tiles; it may run round the board."""
    if one == other or not (_inside(tiles, one) and _inside(tiles, other)):
        return False
    if _at(tiles, one) is None or _at(tiles, one) != _at(tiles, other):
        return False
    reached = {one}
    for _ in range(turns + 1):
        reached |= {cell for start in reached if start != other for cell in _straight(tiles, start, other)}
        if other in reached:
            return True
    return False


def _straight(tiles: Tiles, start: Cell, goal: Cell) -> list[Cell]:
    """The empty cells, and the goal, that straight lines from a cell reach, the ring around the board included."""
    found = []
    for down, right in _STEPS:
        row, column = start[0] + down, start[1] + right
        while -1 <= row <= len(tiles) and -1 <= column <= len(tiles[0]):
            if (row, column) == goal or not _inside(tiles, (row, column)) or tiles[row][column] is None:
                found.append((row, column))
            if (row, column) == goal or (_inside(tiles, (row, column)) and tiles[row][column] is not None):
                break
            row, column = row + down, column + right
    return found


def won(score: float) -> int:
    """1 for a move that scored, -1 for any other."""
    return 1 if score > 0 else -1


def _inside(tiles: Tiles, cell: Cell) -> bool:
    return 0 <= cell[0] < len(tiles) and 0 <= cell[1] < len(tiles[0])


def _at(tiles: Tiles, cell: Cell) -> Any:
    return tiles[cell[0]][cell[1]]
