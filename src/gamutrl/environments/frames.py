"""Which move a generated frame shows: two pictures of a grid compared cell by cell (Visual Planning, 2505.11409)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gamutrl.data.worlds.grids import Cell


def patches(frame: np.ndarray, cells: int, *, crop: float = 0.0) -> np.ndarray:
    """The cells of a grey picture `[H, W]`, `[cells, cells, h, w]`; `crop` cuts so much of a cell off each side."""
    side = min(frame.shape[:2]) // cells
    grid = frame[: side * cells, : side * cells].reshape(cells, side, cells, side).swapaxes(1, 2).astype(np.float64)
    cut = int(side * crop)
    return grid[:, :, cut : side - cut, cut : side - cut] if cut else grid


def changes(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The mean squared difference of each cell, `[cells, cells]`."""
    return ((before - after) ** 2).mean((2, 3))


def likeness(before: np.ndarray, after: np.ndarray, start: Cell, *, dark: float = 200.0) -> np.ndarray:
    """How much the dark part of each cell afterwards is that of the start cell before: IoU, `[cells, cells]`."""
    agent, now = before[start] <= dark, after <= dark
    union = (agent | now).sum((2, 3))
    return np.where(union > 0, (agent & now).sum((2, 3)) / np.maximum(union, 1), 0.0)


def agent_cell(before: np.ndarray, after: np.ndarray, start: Cell, target: Cell, *, most: int = 2) -> Cell:
    """Where the agent went: the target if it is among the cells that changed most, else the cell most like the agent.

    A cell that is not among the `most` changed ones cannot be: then the agent has not moved.
    """
    changed = _largest(changes(before, after))[:most]
    there = target if target in changed else _largest(likeness(before, after, start))[0]
    return there if there in changed else start


def agent_cell_by_threshold(
    before: np.ndarray,
    after: np.ndarray,
    start: Cell,
    target: Cell,
    *,
    leaving: bool,
    changed_above: float = 500.0,
    left_above: float = 1000.0,
) -> Cell:
    """`agent_cell` where a cell has changed by more than so much, and not by being among the most changed.

    leaving: the start is the episode's first cell, whose mark hides the agent; there the most changed cell decides.
    """
    change = changes(before, after)
    changed = [cell for cell in _largest(change) if change[cell] > changed_above]
    if leaving:
        return changed[0] if changed and change[changed[0]] > left_above else start
    return target if target in changed else _largest(likeness(before, after, start))[0]


def _largest(value: np.ndarray) -> list[Cell]:
    order: Sequence[int] = np.argsort(-value, axis=None, kind="stable").tolist()
    return [divmod(i, value.shape[1]) for i in order]
