"""Grids to walk on: ice with holes, mazes with walls, ice on which one slides on; drawn, and with every distance known.

The agent is a red circle, the goal a green square, a hole a dark blue one, a wall a black line. Knobs: `kind` ("ice",
"walls" or "slide"), `size` (cells a side), `holes` (share of cells), `far` (at least how many moves to the goal),
`form`. Columns beside the usual ones: `start`, `goal`, `distance` (moves to the goal by cell, as text `r,c`), `best`
(the moves that shorten the way).

Rules: "ice" is Visual Planning's FrozenLake (arXiv 2505.11409): a move goes to a neighbour; a hole ends it. "walls" is
its Maze. "slide": a move goes on until something stops it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from gamutrl.core import Part, Prompt, image
from gamutrl.data.worlds import base, forms, render
from gamutrl.data.worlds.base import Query, Solution, Split, Task
from gamutrl.data.worlds.grids import STEPS, Cell, Move, distances, move_between
from gamutrl.data.worlds.scenes import LETTERS, lettered

STYLES = base.STYLES
KINDS = ("ice", "walls", "slide")
MOVES = ("up", "down", "left", "right")
_STEP = {move: step for step, move in STEPS.items()}
_SIDE = {"up": "north", "down": "south", "left": "west", "right": "east"}

Maze = dict[str, Any]
"""kind, size, start, goal, holes (cells), walls (for each cell, which sides have one)."""


def demonstrate_turns(
    row: Prompt, error_rate: float = 0.0, seed: int = 0, *, form: str = "think", most: int = 32
) -> list[str]:
    """One move a turn, each on a shortest way (or, with probability `error_rate`, any), until the goal is reached."""
    rng = random.Random(f"{row.id}/turns/{seed}")
    maze, at = row.columns["facts"], tuple(row.columns["start"])
    said: list[str] = []
    distance = distances_of(maze)
    while at != tuple(maze["goal"]) and len(said) < most:
        move = rng.choice(MOVES) if rng.random() < error_rate else rng.choice(best_moves(maze, at, distance))
        said.append(forms.write(form, move, f"{distance[at]} to go"))
        at = after(maze, at, move) or at
        if at not in distance:
            break
    return said


# Rules


def after(maze: Maze, cell: Cell, move: str) -> Cell | None:
    """Where a move leads; None where it is no move (into a wall, off the grid, an unknown word)."""
    if move not in _STEP:
        return None
    down, right = _STEP[move]
    at = cell
    while True:
        there = (at[0] + down, at[1] + right)
        if not _inside(maze, there) or move_between(at, there, maze["walls"]) == "invalid":
            break
        at = there
        if maze["kind"] != "slide" or list(at) in maze["holes"] or list(at) == maze["goal"]:
            break
    return at if at != cell else None


def fell(maze: Maze, cell: Cell) -> bool:
    return list(cell) in maze["holes"]


def distances_of(maze: Maze) -> dict[Cell, int]:
    """The number of moves to the goal, of each cell from which it can be reached."""
    into: dict[Cell, list[Cell]] = {}
    for cell in _cells(maze):
        for move in MOVES if not fell(maze, cell) else ():
            if (end := after(maze, cell, move)) is not None:
                into.setdefault(end, []).append(cell)
    return distances(tuple(maze["goal"]), lambda cell: into.get(cell, ()))


def best_moves(maze: Maze, cell: Cell, distance: dict[Cell, int]) -> list[str]:
    """The moves that shorten the way."""
    ends = {move: after(maze, cell, move) for move in MOVES}
    return [move for move, end in ends.items() if end in distance and distance[end] == distance[cell] - 1]


def walk(maze: Maze, moves: Sequence[str]) -> tuple[list[Cell], str]:
    """The cells that moves lead through, the start first, and the end: "goal", "hole", "invalid" or "on the way"."""
    path = [tuple(maze["start"])]
    for move in moves:
        end = after(maze, path[-1], move)
        if end is None:
            return path, "invalid"
        path.append(end)
        if fell(maze, end) or list(end) == maze["goal"]:
            return path, "hole" if fell(maze, end) else "goal"
    return path, "on the way"


# What is on a canvas


def draw_maze(maze: Maze, agent: Cell | None = None) -> render.Canvas:
    """The maze with its agent, at the start or in any cell."""
    canvas = render.blank((205, 208, 212))
    n = maze["size"]
    edges = [round(k * render.SIZE / n) for k in range(n + 1)]
    side = edges[1]
    for row, column in _cells(maze):
        top, left = edges[row], edges[column]
        cell = canvas[top + 1 : edges[row + 1], left + 1 : edges[column + 1]]
        cell[:] = (20, 30, 110) if [row, column] in maze["holes"] else (225, 230, 235)
        if [row, column] == maze["goal"]:
            cell[:] = render.COLOURS["green"]
    for row, column in _cells(maze):
        top, left = edges[row], edges[column]
        walls = maze["walls"][row][column]
        if walls["north"]:
            canvas[max(0, top - 1) : top + 2, left : edges[column + 1]] = 10
        if walls["west"]:
            canvas[top : edges[row + 1], max(0, left - 1) : left + 2] = 10
    row, column = maze["start"] if agent is None else agent
    size = max(3, side * 2 // 3)
    stamp = render.shape_stamp("circle", size)
    place = (edges[column] + (side - size) // 2, edges[row] + (side - size) // 2)
    render.paint(canvas, stamp, (250, 60, 60), *place)
    return canvas


def tokens(maze: Maze, agent: Cell | None = None) -> list[int]:
    """The maze as one token a cell, row by row: free 0, hole 1, goal 2, agent 3, agent in a hole 4, agent at goal 5."""
    at = list(maze["start"] if agent is None else agent)
    kinds = [1 if [r, c] in maze["holes"] else 2 if [r, c] == maze["goal"] else 0 for r, c in _cells(maze)]
    return [kind + 3 if [r, c] == at else kind for kind, (r, c) in zip(kinds, _cells(maze))]


def board_text(maze: Maze) -> str:
    """The maze in letters: A agent, G goal, H hole, - free; rows parted by a slash."""
    letters = ["-HGAAA"[token] for token in tokens(maze)]
    n = maze["size"]
    return " / ".join(" ".join(letters[row * n : (row + 1) * n]) for row in range(n))


def make(
    rng: random.Random, kind: str = "ice", size: int = 4, holes: float = 0.2, far: int = 2, loops: float = 0.15
) -> Maze:
    """A maze in which the goal can be reached, in at least `far` moves. loops: share of a maze's walls taken away."""
    if kind not in KINDS:
        raise ValueError(f"A maze's kind is {', '.join(KINDS)}, not {kind!r}.")
    cells = [(row, column) for row in range(size) for column in range(size)]
    for _ in range(1000):
        start, goal = rng.sample(cells, 2)
        free = [cell for cell in cells if cell not in (start, goal)]
        dark = rng.sample(free, round(holes * len(free))) if kind != "walls" else []
        walls = _carved(rng, size, loops) if kind == "walls" else _open(size)
        maze: Maze = {
            "kind": kind,
            "size": size,
            "start": list(start),
            "goal": list(goal),
            "holes": [list(cell) for cell in sorted(dark)],
            "walls": walls,
        }
        if distances_of(maze).get(start, -1) >= far:
            return maze
    raise ValueError(f"No {kind} maze of {size} x {size} has its goal {far} moves away: make `far` or `holes` smaller.")


def _open(size: int) -> list[list[dict[str, bool]]]:
    """Walls around the grid only."""
    ends = (0, size - 1)
    return [
        [
            {"north": r == ends[0], "south": r == ends[1], "west": c == ends[0], "east": c == ends[1]}
            for c in range(size)
        ]
        for r in range(size)
    ]


def _carved(rng: random.Random, size: int, loops: float) -> list[list[dict[str, bool]]]:
    """A maze in which every cell can be reached, by walking at random and breaking walls; then a few more broken."""
    walls = [[dict.fromkeys(_SIDE.values(), True) for _ in range(size)] for _ in range(size)]

    def breach(cell: Cell, there: Cell, move: Move) -> None:
        back = {"up": "down", "down": "up", "left": "right", "right": "left"}[move]
        walls[cell[0]][cell[1]][_SIDE[move]] = walls[there[0]][there[1]][_SIDE[back]] = False

    stack, seen = [(0, 0)], {(0, 0)}
    while stack:
        cell = stack[-1]
        ways = [
            ((cell[0] + d, cell[1] + r), move)
            for (d, r), move in STEPS.items()
            if 0 <= cell[0] + d < size and 0 <= cell[1] + r < size and (cell[0] + d, cell[1] + r) not in seen
        ]
        if not ways:
            stack.pop()
            continue
        there, move = rng.choice(ways)
        breach(cell, there, move)
        seen.add(there)
        stack.append(there)
    for row in range(size - 1):
        for column in range(size - 1):
            if rng.random() < loops:
                breach((row, column), (row + 1, column), "down")
    return walls


def _cells(maze: Maze) -> Iterator[Cell]:
    return ((row, column) for row in range(maze["size"]) for column in range(maze["size"]))


def _inside(maze: Maze, cell: Cell) -> bool:
    return 0 <= cell[0] < maze["size"] and 0 <= cell[1] < maze["size"]


# Tasks


def _draw_move(rng: random.Random, split: Split, **knobs: Any) -> Any:
    """The next move on a shortest way; drawn so that exactly one is best where that can be had."""
    maze = make(rng, **knobs)
    for _ in range(20):
        if len(best_moves(maze, tuple(maze["start"]), distances_of(maze))) == 1:
            break
        maze = make(rng, **knobs)
    return maze, {"asked": "move"}


def _solve_move(maze: Maze, query: Query) -> Solution:
    distance = distances_of(maze)
    start = tuple(maze["start"])
    return Solution(best_moves(maze, start, distance)[0], f"{distance[start]} to go", MOVES)


def _draw_plan(rng: random.Random, split: Split, **knobs: Any) -> Any:
    return make(rng, **knobs), {"asked": "plan"}


def shortest(maze: Maze) -> list[str]:
    """A shortest way from the start, as moves."""
    distance, at, moves = distances_of(maze), tuple(maze["start"]), []
    while list(at) != maze["goal"]:
        moves.append(best_moves(maze, at, distance)[0])
        at = after(maze, at, moves[-1])  # type: ignore[assignment]
    return moves


def _solve_plan(maze: Maze, query: Query) -> Solution:
    return Solution(" ".join(shortest(maze)), board_text(maze))


def _draw_end(rng: random.Random, split: Split, moves: int = 3, **knobs: Any) -> Any:
    """Four walks, of which one reaches the goal, as lettered options."""
    maze = make(rng, **knobs)
    right = shortest(maze)
    options = [" ".join(right)]
    for _ in range(400):
        other = [rng.choice(MOVES) for _ in right]
        if walk(maze, other)[1] != "goal" and " ".join(other) not in options:
            options.append(" ".join(other))
        if len(options) == 4:
            break
    rng.shuffle(options)
    return maze, {"asked": "end", "options": options, "right": " ".join(right)}


def _solve_end(maze: Maze, query: Query) -> Solution:
    letters = LETTERS[: len(query["options"])]
    return Solution(letters[query["options"].index(query["right"])], board_text(maze), letters)


def _ask(query: Query) -> str:
    if query["asked"] == "move":
        return "Which way next to green?"
    if query["asked"] == "plan":
        return "Moves to green?"
    return f"Which moves lead to green? {lettered(query['options'])}"


def _with_distances(row: Prompt) -> Prompt:
    maze = row.columns["facts"]
    distance = distances_of(maze)
    known = {
        "start": maze["start"],
        "goal": maze["goal"],
        "distance": {f"{r},{c}": steps for (r, c), steps in distance.items()},
        "best": best_moves(maze, tuple(maze["start"]), distance),
    }
    return replace(row, columns={**row.columns, **known})


def _media(maze: Maze) -> list[Part]:
    return [image(render.picture(draw_maze(maze)))]


def _task(draw: Callable[..., Any], solve: Callable[[Maze, Query], Solution], constant: Sequence[str]) -> Task:
    return Task(draw, _ask, solve, _media, board_text, constant)


_TASKS: dict[str, Task] = {
    "move": _task(_draw_move, _solve_move, MOVES),
    "plan": _task(_draw_plan, _solve_plan, [f"{a} {b}" for a in MOVES for b in MOVES]),
    "end": _task(_draw_end, _solve_end, tuple(LETTERS)),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("mazes", _TASKS, _with_distances)
rows, demonstrate, answers = _OFFERED.rows, _OFFERED.demonstrate, _OFFERED.answers
