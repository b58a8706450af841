"""Walks on a grid of cells: moves, walls, how near a goal is, and the reward of a step towards it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, get_args

Cell = tuple[int, int]
"""`(row, column)` from the top left."""
Move = Literal["up", "down", "left", "right", "pick", "drop", "invalid"]
Walls = Sequence[Sequence[Mapping[str, bool]]]
"""For each cell, whether there is a wall to its north, south, west and east."""

STEPS: Mapping[Cell, Move] = {(-1, 0): "up", (1, 0): "down", (0, -1): "left", (0, 1): "right"}
_SIDES = {"up": "north", "down": "south", "left": "west", "right": "east"}
_MOVES = get_args(Move)[:-1]


def move_between(start: Sequence[int], end: Sequence[int], walls: Walls | None = None) -> Move:
    """The move from one cell to the next; "invalid" to any cell but a neighbour, or through a wall."""
    move = STEPS.get((end[0] - start[0], end[1] - start[1]), "invalid")
    if walls is not None and move != "invalid" and walls[start[0]][start[1]][_SIDES[move]]:
        return "invalid"
    return move


def move_or_handle(start: Sequence[int], end: Sequence[int], picks: bool, drops: bool) -> Move:
    """The move, or "pick" or "drop" on the spot; nothing at all, and handling while walking, are "invalid"."""
    if tuple(start) == tuple(end):
        return "pick" if picks else "drop" if drops else "invalid"
    return "invalid" if picks or drops else move_between(start, end)


def move_id(move: Move) -> int:
    """up 0, down 1, left 2, right 3, pick 4, drop 5; -1 for an invalid one."""
    return _MOVES.index(move) if move in _MOVES else -1


def distances(goal: Cell, neighbours: Callable[[Cell], Iterable[Cell]]) -> dict[Cell, int]:
    """The number of moves to the goal from each cell that can reach it. `neighbours` are the cells one move away."""
    found = {goal: 0}
    queue = deque([goal])
    while queue:
        cell = queue.popleft()
        for other in neighbours(cell):
            if other not in found:
                found[other] = found[cell] + 1
                queue.append(other)
    return found


def step_reward(
    start: Cell,
    end: Cell,
    distance: Mapping[Cell, int],
    *,
    nearer: float = 1.0,
    otherwise: float = 0.0,
    invalid: float = -5.0,
) -> float:
    """`nearer` for a move that shortens the way (Visual Planning, 2505.11409), `invalid` for one that is no move.

    distance: to the goal (which has 0), of all cells that a move may end on.
    """
    if move_between(start, end) == "invalid" or end not in distance:
        return invalid
    return nearer if distance[end] == 0 or distance[end] == distance.get(start, -1) - 1 else otherwise


def errand_reward(
    start: Cell,
    end: Cell,
    move: Move,
    to_pick: Mapping[Cell, Mapping[Cell, int]],
    to_drop: Mapping[Cell, Mapping[Cell, int]],
    carrying: bool,
    *,
    invalid: float = -5.0,
) -> float:
    """1 for handling, and for a move that shortens the way to where to pick up, then to where to put down.

    to_pick, to_drop: for each cell beside the thing, the distances to it. While nothing is carried, the cells to pick
    from are those that make the whole errand shortest. Source: Visual Planning's MiniBehaviour.
    """
    if move in ("invalid", "pick", "drop"):
        return invalid if move == "invalid" else 1.0
    ways = to_drop if carrying else to_pick
    length: dict[Cell, int] = {}
    for cell, way in ways.items():
        rest = 0 if carrying else min((onward[cell] for onward in to_drop.values() if cell in onward), default=None)
        if start in way and rest is not None:
            length[cell] = way[start] + rest
    best = [ways[cell] for cell, total in length.items() if total == min(length.values())]
    return float(any(end in way and way[end] < way[start] for way in best))
