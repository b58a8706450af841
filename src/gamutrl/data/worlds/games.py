"""Board games by picture: 2048, match-three, Shisen-Sho and the sliding puzzle, each a value with exact rules.

A game's states are plain data; all randomness (new tiles, refilled gaps) comes from a generator that is handed in, so
that a group of rollouts starts from one state and meets the same luck. After G1 (arXiv 2505.13426), whose rules these
are. Knobs of every task: `size` (cells a side), `plays` (random moves before the row's state), `form`; `telling` (only
states in which some action scores and another does not); of match-three and Shisen-Sho: `kinds` (how many different
tiles). Columns beside the usual ones: `state`, `perception` (the board as text), `good` (the actions that score).

In small boards 2048 shows exponents, in the worlds' own print, on tiles of a colour each.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from gamutrl.core import Part, Prompt, image
from gamutrl.data.worlds import base, boards, render, scenes
from gamutrl.data.worlds.base import Query, Solution, Split, Task
from gamutrl.data.worlds.boards import Cell

STYLES = base.STYLES
MOVES = ("up", "right", "down", "left")
Board = list[list[Any]]
Pair = tuple[Cell, Cell]
Action = int | Pair | None
"""A direction (0 up, 1 right, 2 down, 3 left), a pair of cells, or None for no action at all."""

_SHADES = ((70, 70, 80), *render.COLOURS.values(), (230, 130, 40), (130, 90, 60), (150, 150, 150), (240, 240, 240))


class Game(Protocol):
    """The rules of a game. A board is a list of rows; `None` or 0 is an empty cell.

    start: a board to begin with. actions: those that change it. act: the board after an action, and its raw reward
    (below 0 for what is no action); over: whether nothing more can be done. draw, text: what it looks like, and reads.
    """

    size: int

    def start(self, rng: random.Random) -> Board: ...
    def actions(self, board: Board) -> list[Action]: ...
    def act(self, board: Board, action: Action, rng: random.Random) -> tuple[Board, float]: ...
    def over(self, board: Board) -> bool: ...
    def draw(self, board: Board) -> render.Canvas: ...
    def text(self, board: Board) -> str: ...


@dataclass(frozen=True)
class Doubling:
    """2048: tiles slide and equal ones merge; the reward is the sum of what merged. New tiles: 2, or 4 one in ten."""

    size: int = 3

    def start(self, rng: random.Random) -> Board:
        board: Board = [[0] * self.size for _ in range(self.size)]
        return self._spawned(self._spawned(board, rng), rng)

    def actions(self, board: Board) -> list[Action]:
        return [move for move in range(4) if boards.slide(board, move)[0] != board]

    def act(self, board: Board, action: Action, rng: random.Random) -> tuple[Board, float]:
        if not isinstance(action, int) or not 0 <= action < 4:
            return board, -1.0
        moved, score = boards.slide(board, action)
        return (self._spawned(moved, rng) if moved != board else board), float(score)

    def over(self, board: Board) -> bool:
        return boards.is_over(board)

    def draw(self, board: Board) -> render.Canvas:
        return _numbered(board, lambda tile: _SHADES[min(tile, len(_SHADES) - 1)])

    def text(self, board: Board) -> str:
        return boards.board_text(board)

    def _spawned(self, board: Board, rng: random.Random) -> Board:
        free = [(r, c) for r, row in enumerate(board) for c, tile in enumerate(row) if not tile]
        row, column = rng.choice(free)
        new = [list(line) for line in board]
        new[row][column] = 1 if rng.random() < 0.9 else 2
        return new


@dataclass(frozen=True)
class Matching:
    """Match-three: swapping neighbours must line up three; the reward is n·(n-1) for n removed, cascades too."""

    size: int = 5
    kinds: int = 5

    def start(self, rng: random.Random) -> Board:
        while True:
            board = [[rng.randrange(self.kinds) for _ in range(self.size)] for _ in range(self.size)]
            if not boards.matches(board) and self.actions(board):
                return board

    def actions(self, board: Board) -> list[Action]:
        return [pair for pair in _neighbours(self.size) if boards.swap(board, *pair)[0]]

    def act(self, board: Board, action: Action, rng: random.Random) -> tuple[Board, float]:
        pair = _pair(action, self.size)
        if pair is None or not boards.swap(board, *pair)[0]:
            return board, -1.0
        (r, c), (s, d) = pair
        new = [list(row) for row in board]
        new[r][c], new[s][d] = new[s][d], new[r][c]
        score = 0
        for _ in range(100):
            gone = boards.matches(new)
            if not gone:
                break
            score += len(gone) * (len(gone) - 1)
            for column in range(self.size):
                left = [new[row][column] for row in range(self.size) if (row, column) not in gone]
                fresh = [rng.randrange(self.kinds) for _ in range(self.size - len(left))]
                for row, tile in enumerate(fresh + left):
                    new[row][column] = tile
        return new, float(score)

    def over(self, board: Board) -> bool:
        return not self.actions(board)

    def draw(self, board: Board) -> render.Canvas:
        return _shaped(board)

    def text(self, board: Board) -> str:
        return "\n".join(" | ".join(_tile_name(tile) or "Empty" for tile in row) for row in board)


@dataclass(frozen=True)
class Linking:
    """Shisen-Sho: two equal tiles go if a path of at most two turns joins them; 1 for such a pair, else -1."""

    size: int = 4
    kinds: int = 4

    def start(self, rng: random.Random) -> Board:
        count = self.size * self.size
        if count % 2:
            raise ValueError(f"Tiles come in pairs: a board of {self.size} x {self.size} has an odd number of cells.")
        while True:
            tiles = [k % self.kinds for k in range(count // 2)] * 2
            rng.shuffle(tiles)
            board: Board = [tiles[r * self.size : (r + 1) * self.size] for r in range(self.size)]
            if self.actions(board):
                return board

    def actions(self, board: Board) -> list[Action]:
        where: dict[Any, list[Cell]] = {}
        for r, row in enumerate(board):
            for c, tile in enumerate(row):
                if tile is not None:
                    where.setdefault(tile, []).append((r, c))
        pairs = [(a, b) for cells in where.values() for i, a in enumerate(cells) for b in cells[i + 1 :]]
        return [pair for pair in pairs if boards.can_connect(board, *pair)]

    def act(self, board: Board, action: Action, rng: random.Random) -> tuple[Board, float]:
        pair = _pair(action, self.size)
        if pair is None or not boards.can_connect(board, *pair):
            return board, -1.0
        return [[None if (r, c) in pair else tile for c, tile in enumerate(row)] for r, row in enumerate(board)], 1.0

    def over(self, board: Board) -> bool:
        return not self.actions(board)

    def draw(self, board: Board) -> render.Canvas:
        return _shaped(board)

    def text(self, board: Board) -> str:
        return "\n".join("|".join(f" {_tile_name(tile) or '-'} " for tile in row) for row in board)


@dataclass(frozen=True)
class Sliding:
    """The sliding puzzle: the empty cell moves; 1 for a move that brings tiles nearer to their places, else 0."""

    size: int = 3

    def start(self, rng: random.Random) -> Board:
        board: Board = [[r * self.size + c + 1 for c in range(self.size)] for r in range(self.size)]
        board[-1][-1] = 0
        return board

    def actions(self, board: Board) -> list[Action]:
        return [move for move in range(4) if self._moved(board, move)]

    def act(self, board: Board, action: Action, rng: random.Random) -> tuple[Board, float]:
        new = self._moved(board, action) if isinstance(action, int) else None
        return (board, -1.0) if new is None else (new, float(self._far(new) < self._far(board)))

    def over(self, board: Board) -> bool:
        return self._far(board) == 0

    def draw(self, board: Board) -> render.Canvas:
        return _numbered(board, lambda tile: (60, 90, 150) if tile else (24, 24, 24))

    def text(self, board: Board) -> str:
        return "\n".join("|".join(f" {tile or '-'} " for tile in row) for row in board)

    def _moved(self, board: Board, move: int) -> Board | None:
        (r, c) = next((r, c) for r, row in enumerate(board) for c, tile in enumerate(row) if tile == 0)
        if not 0 <= move < 4:
            return None
        s, d = (r - 1, r, r + 1, r)[move], (c, c + 1, c, c - 1)[move]
        if not (0 <= s < self.size and 0 <= d < self.size):
            return None
        new = [list(row) for row in board]
        new[r][c], new[s][d] = new[s][d], 0
        return new

    def _far(self, board: Board) -> int:
        """How many steps the tiles are from their places, all together."""
        places = [(tile - 1, r, c) for r, row in enumerate(board) for c, tile in enumerate(row) if tile]
        return sum(abs(at // self.size - r) + abs(at % self.size - c) for at, r, c in places)


GAMES: dict[str, type] = {"2048": Doubling, "match": Matching, "link": Linking, "slide": Sliding}


def perceived(row: Prompt, style: str = "work", error_rate: float = 0.0, seed: int = 0, *, misread: float = 0.0) -> str:
    """A demonstration that says first what is on the board (G1's cold start), with probability `misread` one tile
    wrong."""
    said = demonstrate(replace(row, columns={**row.columns, "form": "think"}), style, error_rate, seed)
    rng = random.Random(f"{row.id}/misread/{seed}")
    board = [list(line) for line in row.columns["state"]]
    if rng.random() < misread:
        line = rng.choice(board)
        place = rng.randrange(len(line))
        line[place] = rng.choice([tile for other in board for tile in other if tile != line[place]] or [line[place]])
    return f"<perception>{game_of(row).text(board)}</perception>\n{said}"


def game_of(prompt: Prompt) -> Game:
    """The game that a row's state belongs to."""
    facts = prompt.columns["facts"]
    return game(facts["game"], **facts["options"])


def game(name: str, **options: Any) -> Game:
    if name not in GAMES:
        raise ValueError(f"There is no game {name!r}; there are: {', '.join(GAMES)}.")
    return GAMES[name](**options)


def written(action: Action) -> str:
    """An action as the answers write it: a number, or `(r, c) (r, c)`."""
    return " ".join(map(str, action)) if isinstance(action, tuple) else str(action)


def reward(game: Game, board: Board, action: Action) -> float:
    """The raw reward of an action on a board, luck apart (what falls into gaps afterwards does not count)."""
    if isinstance(game, Matching):
        pair = _pair(action, game.size)
        score = boards.swap(board, *pair)[1] if pair else 0
        return float(score) if score else -1.0
    return game.act(board, action, random.Random(0))[1]


def best(game: Game, board: Board) -> Action:
    """The action that is worth most; the first of equal ones."""
    return max(game.actions(board), key=lambda action: reward(game, board, action), default=None)


def _pair(action: Action, size: int) -> Pair | None:
    """Two cells on the board, or None."""
    if not isinstance(action, tuple) or len(action) != 2:
        return None
    return action if all(0 <= side < size for cell in action for side in cell) else None


# Pictures


def _numbered(board: Board, shade: Callable[[int], tuple[int, int, int]]) -> render.Canvas:
    canvas = render.blank((24, 24, 24))
    side = render.SIZE // len(board)
    for r, row in enumerate(board):
        for c, tile in enumerate(row):
            top, left = r * side, c * side
            canvas[top + 1 : top + side - 1, left + 1 : left + side - 1] = shade(tile)
            if tile:
                stamp = render.number_stamp(tile % 100)
                x, y = left + (side - stamp.shape[1]) // 2, top + (side - stamp.shape[0]) // 2
                canvas[max(y - 1, 0) : y + stamp.shape[0] + 1, max(x - 1, 0) : x + stamp.shape[1] + 1] = 12
                render.paint(canvas, stamp, render.WHITE, x, y)
    return canvas


def _shaped(board: Board) -> render.Canvas:
    canvas = render.blank((24, 24, 24))
    side = render.SIZE // len(board)
    size = max(4, side - max(2, side // 4))
    for r, row in enumerate(board):
        for c, tile in enumerate(row):
            if tile is not None:
                colour, shape = scenes.KINDS[_ORDER[tile]]
                place = (c * side + (side - size) // 2, r * side + (side - size) // 2)
                render.paint(canvas, render.shape_stamp(shape, size), render.COLOURS[colour], *place)
    return canvas


_ORDER = [(k % 6) * 4 + (k + k // 6) % 4 for k in range(24)]
"""Kinds of tiles, told apart by colour first and by shape."""


def _tile_name(tile: int | None) -> str:
    return "" if tile is None else " ".join(scenes.KINDS[_ORDER[tile]]).capitalize()


# Tasks


def _drawer(name: str) -> Callable[..., Any]:
    def draw(
        rng: random.Random, split: Split, plays: tuple[int, int] = (0, 30), telling: bool = False, **options: Any
    ) -> Any:
        """A state after some random actions, in which something can be done (and scored, if that is soon found)."""
        known = {field.name for field in fields(GAMES[name])}
        if unknown := set(options) - known:
            raise ValueError(f"The game {name!r} has no {', '.join(sorted(unknown))}; it has: {', '.join(known)}.")
        played = game(name, **options)
        board = _played(played, rng, rng.randint(*plays))
        for _ in range(30):
            if _is_a_question(played, board, telling):
                break
            board = _played(played, rng, rng.randint(*plays))
        return {"game": name, "options": options, "board": board}, {"game": name}

    return draw


def _is_a_question(played: Game, board: Board, telling: bool) -> bool:
    if played.over(board) or reward(played, board, best(played, board)) <= 0:
        return False
    return not telling or any(reward(played, board, action) <= 0 for action in _anything(played))


def _played(played: Game, rng: random.Random, plays: int) -> Board:
    """A board after so many random actions, or as many as there were."""
    board = played.start(rng)
    for _ in range(plays):
        actions = played.actions(board)
        after = played.act(board, rng.choice(actions), rng)[0] if actions else board
        if played.over(after):
            break
        board = after
    return board


def _solve(facts: dict[str, Any], query: Query) -> Solution:
    played = game(facts["game"], **facts["options"])
    right = best(played, facts["board"])
    worth = reward(played, facts["board"], right) if right is not None else -1.0
    worse = [written(action) for action in _anything(played) if reward(played, facts["board"], action) < worth]
    return Solution(written(right), _reason(played, facts["board"], worth), [written(right), *worse] if worse else ())


def _reason(played: Game, board: Board, worth: float) -> str:
    if not isinstance(played, Doubling):
        return f"worth {worth:g}"
    across, down = (boards.slide(board, move)[1] for move in (boards.RIGHT, boards.UP))
    return f"across {across}, down {down}"


def along_lines(board: Board) -> str:
    """A move of 2048 worked out: the tiles of each row and of each column without the gaps between them, and what
    sliding them together scores."""

    def told(lines: Iterable[Sequence[int]]) -> str:
        return " | ".join(" ".join(str(2**tile) for tile in line if tile) or "-" for line in lines)

    across, down = (boards.slide(board, move)[1] for move in (boards.RIGHT, boards.UP))
    return f"{told(board)} across {across}; {told(zip(*board))} down {down}"


def _anything(played: Game) -> Sequence[Action]:
    """What may be tried, on whatever board: four directions, or pairs of neighbours."""
    return range(4) if isinstance(played, Doubling | Sliding) else _neighbours(played.size)


def _neighbours(size: int) -> list[Pair]:
    cells = [(r, c) for r in range(size) for c in range(size)]
    return [((r, c), there) for r, c in cells for there in ((r, c + 1), (r + 1, c)) if max(there) < size]


def _caption(facts: dict[str, Any]) -> str:
    return game(facts["game"], **facts["options"]).text(facts["board"])


def _media(facts: dict[str, Any]) -> list[Part]:
    return [image(render.picture(game(facts["game"], **facts["options"]).draw(facts["board"])))]


def _with_state(row: Prompt) -> Prompt:
    played, board = game_of(row), row.columns["facts"]["board"]
    good = [written(action) for action in played.actions(board) if reward(played, board, action) > 0]
    return replace(row, columns={**row.columns, "state": board, "perception": played.text(board), "good": good})


_DIRECTIONS = "0 up, 1 right, 2 down, 3 left?"
_TASKS: dict[str, Task] = {
    "2048": Task(_drawer("2048"), lambda q: f"2048: {_DIRECTIONS}", _solve, _media, _caption, tuple("0123")),
    "match": Task(_drawer("match"), lambda q: "Swap which two for three in a line?", _solve, _media, _caption),
    "link": Task(_drawer("link"), lambda q: "Which two equal tiles can be joined?", _solve, _media, _caption),
    "slide": Task(_drawer("slide"), lambda q: f"Move the gap: {_DIRECTIONS}", _solve, _media, _caption, tuple("0123")),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("games", _TASKS, _with_state)
rows, demonstrate, answers = _OFFERED.rows, _OFFERED.demonstrate, _OFFERED.answers
