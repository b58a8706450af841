"""Games and mazes to play, turn by turn: every turn is one action, and the board comes back as a picture.

A group starts from one state and meets the same luck: what falls into a gap depends on the row, the seed and the turn.
Each turn's `info` holds `reward` (raw), `score` (so far) and `state`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from gamutrl.core import Part, Prompt, image, text
from gamutrl.data.worlds import games, mazes, puzzles, render
from gamutrl.data.worlds.games import Action, Board, Game
from gamutrl.data.worlds.grids import Cell
from gamutrl.environments.base import Episode, Step, needed
from gamutrl.environments.games import cells_in, move_in
from gamutrl.rewards.tags import tag_text

_WORD = re.compile(r"[a-z]{1,20}")
MOST_MOVES = 64
"""Moves of one turn that are walked."""


@dataclass(frozen=True)
class Playing:
    """A board game from the row's state (its columns `facts` and `state`, as `data.worlds.games` writes them).

    turns: the most; 1 is one move from a saved state (G1, 2505.13426). What is no action is told, and costs a turn.
    """

    turns: int = 1
    game: Callable[[Prompt], Game] = games.game_of

    def __call__(self, prompt: Prompt, seed: int) -> Episode:
        board = needed(prompt, "state")
        return _Board(self.turns, self.game(prompt), board, f"{prompt.id}/{seed}")


@dataclass(frozen=True)
class Walking:
    """A walk in the row's maze: an answer holds one or more moves ("up", "down", "left", "right").

    It ends at the goal, in a hole, and (`strict`) at a move that cannot be made; else the maze is shown with the agent.
    """

    turns: int = 16
    strict: bool = False

    def __call__(self, prompt: Prompt, seed: int) -> Episode:
        maze = needed(prompt, "facts")
        return _Walk(self.turns, self.strict, maze, tuple(maze["start"]))


@dataclass(frozen=True)
class Rearranging:
    """The row's jigsaw: an answer swaps the pieces at two places, numbered from 1 (`2 3`), until the picture is whole.

    The raw reward is how many more pieces lie in their places than before.
    """

    turns: int = 8

    def __call__(self, prompt: Prompt, seed: int) -> Episode:
        facts = needed(prompt, "facts")
        return _Jigsaw(self.turns, facts, list(facts["order"]))


def action_in(said: str, game: Game) -> Action:
    """The action that an answer names, in the game's own notation; None for none."""
    if isinstance(game, games.Doubling | games.Sliding):
        move = move_in(said)
        return None if move == 4 else move
    return cells_in(said)


def moves_in(said: str) -> list[str]:
    """The moves that an answer names, in order; without an answer, none."""
    words = _WORD.findall(tag_text(said, which="last", missing="empty")[:10_000].lower())
    return [word for word in words if word in mazes.MOVES][:MOST_MOVES]


@dataclass(eq=False)
class _Board:
    turns: int
    game: Game
    board: Board
    luck: str
    turn: int = 0
    score: float = 0.0

    def step(self, output: Any) -> Step:
        self.turn += 1
        action = action_in(str(output), self.game)
        before = self.board
        self.board, reward = self.game.act(before, action, random.Random(f"{self.luck}/{self.turn}"))
        self.score += max(0.0, reward)
        info = {"reward": reward, "score": self.score, "state": self.board, "action": action}
        if self.game.over(self.board):
            return Step(done=True, info={**info, "end": "answer"})
        if self.turn >= self.turns:
            return Step(done=True, info={**info, "end": "answer" if self.turns == 1 else "budget", "stop": "turns"})
        words = f"Score {self.score:g}." if self.board != before else "That is no move."
        return Step(_shown(render.picture(self.game.draw(self.board)), words), info=info)


@dataclass(eq=False)
class _Walk:
    turns: int
    strict: bool
    maze: mazes.Maze
    at: Cell
    turn: int = 0
    path: list[Cell] = field(default_factory=list)
    distance: dict[Cell, int] = field(init=False)

    def __post_init__(self) -> None:
        self.distance = mazes.distances_of(self.maze)
        self.path.append(self.at)

    def step(self, output: Any) -> Step:
        self.turn += 1
        moves = moves_in(str(output))
        before, wrong = self.at, not moves
        for move in moves:
            there = mazes.after(self.maze, self.at, move)
            if there is None:
                wrong = True
                break
            self.at = there
            self.path.append(there)
            if mazes.fell(self.maze, there) or list(there) == self.maze["goal"]:
                break
        home, fallen = list(self.at) == self.maze["goal"], mazes.fell(self.maze, self.at)
        nearer = self.distance.get(before, 0) - self.distance.get(self.at, 10**6)
        reward = -1.0 if wrong or fallen else float(nearer > 0)
        info = {"reward": reward, "score": float(home), "state": list(self.at), "path": [list(c) for c in self.path]}
        if home or fallen or (wrong and self.strict):
            return Step(done=True, info={**info, "end": "answer", "stop": "goal" if home else "lost"})
        if self.turn >= self.turns:
            return Step(done=True, info={**info, "end": "budget", "stop": "turns"})
        words = "You cannot go there." if wrong else ""
        return Step(_shown(render.picture(mazes.draw_maze(self.maze, self.at)), words), info=info)


@dataclass(eq=False)
class _Jigsaw:
    turns: int
    facts: dict[str, Any]
    order: list[int]
    turn: int = 0

    def step(self, output: Any) -> Step:
        self.turn += 1
        numbers = re.findall(r"\d{1,3}", tag_text(str(output), which="last", missing="empty")[:1000])
        places = [int(number) - 1 for number in numbers[:2]]
        before = self._right()
        valid = len(places) == 2 and all(0 <= place < len(self.order) for place in places)
        if valid:
            one, other = places
            self.order[one], self.order[other] = self.order[other], self.order[one]
        share = self._right() / len(self.order)
        reward = float(self._right() - before) if valid else -1.0
        info = {"reward": reward, "score": share, "state": list(self.order)}
        if share == 1:
            return Step(done=True, info={**info, "end": "answer"})
        if self.turn >= self.turns:
            return Step(done=True, info={**info, "end": "budget", "stop": "turns"})
        canvas = puzzles.draw_canvas({**self.facts, "order": self.order})
        return Step(_shown(render.picture(canvas), "" if valid else "Name two places."), info=info)

    def _right(self) -> int:
        return sum(piece == place for place, piece in enumerate(self.order))


def _shown(picture: Image.Image, words: str) -> tuple[Part, ...]:
    return (image(picture), text(words)) if words else (image(picture),)
