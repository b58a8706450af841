"""Plans made of pictures: the policy paints the next state, and a rule reads from two frames which move was made.

After Visual Planning (2505.11409). A frame is a picture, or the maze's tokens, one a cell (`mazes.tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from gamutrl.core import Message, Prompt, image
from gamutrl.data.worlds import mazes, render
from gamutrl.data.worlds.grids import Cell, step_reward
from gamutrl.environments import frames
from gamutrl.environments.base import Episode, Step, needed


@dataclass(frozen=True)
class Painting:
    """Each turn is the next frame of a walk in the row's maze, painted from the frame before and from nothing else.

    turns: the most (0: as many as a shortest way has). A frame that shows no move ends it, as do a hole and the goal.
    Each turn's `info` holds `reward` (1 nearer, 0 not, -5 no move or a hole), `move` and `cell`.
    """

    turns: int = 1

    def __call__(self, prompt: Prompt, seed: int) -> Episode:
        return _Painted(self.turns, needed(prompt, "facts"))


class _Painted:
    def __init__(self, turns: int, maze: mazes.Maze) -> None:
        self.maze, self.at, self.turn = maze, tuple(maze["start"]), 0
        self.distance = mazes.distances_of(maze)
        self.turns = turns or self.distance[self.at]

    def step(self, output: Any) -> Step:
        self.turn += 1
        before, cell = self.at, shown_cell(self.maze, self.at, output)
        made = next((move for move in mazes.MOVES if mazes.after(self.maze, before, move) == cell), "invalid")
        reward = step_reward(before, cell, self.distance) if cell and made != "invalid" else -5.0
        info = {"reward": reward, "move": made, "cell": None if cell is None else list(cell)}
        if cell is None or reward < 0:
            return Step(done=True, info={**info, "end": "answer", "stop": "lost"})
        self.at = cell
        home = list(cell) == self.maze["goal"]
        if home or self.turn >= self.turns:
            return Step(done=True, info={**info, "end": "answer", "stop": "goal" if home else "turns"})
        return Step(context=(Message("user", (image(self._canvas(output)),)),), info=info, makes="image")

    def painted(self, words: str) -> Image.Image | None:
        """The frame that somebody means who names a move instead of painting; None for what is no move here."""
        named = next((move for move in mazes.MOVES if move in words.lower().split()), None)
        there = mazes.after(self.maze, self.at, named) if named else None
        return None if there is None else render.picture(mazes.draw_maze(self.maze, there))

    def _canvas(self, output: Any) -> Any:
        """What the next frame is painted from: the picture that was painted, or the state that tokens say."""
        return output if isinstance(output, Image.Image) else render.picture(mazes.draw_maze(self.maze, self.at))


def shown_cell(maze: mazes.Maze, at: Cell, output: Any) -> Cell | None:
    """The cell that a frame shows the agent in; None where it shows no state of this maze."""
    if isinstance(output, Image.Image | np.ndarray):
        return _in_picture(maze, at, output)
    return _in_tokens(maze, output)


def _in_picture(maze: mazes.Maze, at: Cell, output: Image.Image | np.ndarray) -> Cell | None:
    after = output if isinstance(output, Image.Image) else Image.fromarray(np.asarray(output, np.uint8))
    before = render.picture(mazes.draw_maze(maze, at))
    target = tuple(maze["goal"])
    cut = 0.05 if maze["kind"] == "walls" else 0.0
    two = [
        frames.patches(np.asarray(picture.convert("L").resize(before.size)), maze["size"], crop=cut)
        for picture in (before, after)
    ]
    if maze["kind"] == "walls":
        # In these pictures no mark hides the agent at the start, so leaving it is like leaving any cell.
        return frames.agent_cell_by_threshold(two[0], two[1], at, target, leaving=False)
    return frames.agent_cell(two[0], two[1], at, target)


def _in_tokens(maze: mazes.Maze, output: Any) -> Cell | None:
    said = output.tolist() if hasattr(output, "tolist") else output
    if not isinstance(said, Sequence) or isinstance(said, str) or len(said) != maze["size"] ** 2:
        return None
    agents = [place for place, token in enumerate(said) if token in (3, 4, 5)]
    if len(agents) != 1:
        return None
    cell = divmod(agents[0], maze["size"])
    return cell if list(said) == mazes.tokens(maze, cell) else None
