"""Visual Planning's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from gamutrl.data.worlds import grids
from gamutrl.environments import frames
from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import shaping


def group_advantage(rewards: F32, num_generations: int) -> Tensor:
    return compose.grouped(rewards, num_generations)


def kl_beta_schedule(start: float, end: float, mode: str, step: int, total: int) -> float:
    if mode == "linear" and start > end:
        return end  # Released: clamped to [start, end], which a falling schedule turns round.
    shape: Any = "linear" if mode == "linear" else "constant"
    return shaping.schedule(start, end, min(step / total, 1.0), shape)


def _action(move: grids.Move) -> list[Any]:
    return [grids.move_id(move), move]


def _patches(levels: list[list[float]], crop: float = 0.0) -> np.ndarray:
    side = 256 // len(levels)
    return frames.patches(np.kron(levels, np.ones((side, side))), len(levels), crop=crop)


def grid_action(start: list[int], next: list[int]) -> list[Any]:
    return _action(grids.move_between(start, next))


def maze_action(start: list[int], next: list[int], layout: grids.Walls) -> list[Any]:
    return _action(grids.move_between(start, next, layout))


def mini_action(start: list[int], next: list[int], picking: bool, dropping: bool) -> list[Any]:
    return _action(grids.move_or_handle(start, next, picking, dropping))


def frame_pair_action(before: Any, after: Any, start: list[int], target: list[int]) -> dict[str, Any]:
    cell = frames.agent_cell(_patches(before), _patches(after), (start[0], start[1]), (target[0], target[1]))
    return {"action": grid_action(start, list(cell)), "pred_coord": list(cell)}


def maze_frame_pair_action(
    before: Any, after: Any, start: list[int], target: list[int], initial: list[int], layout: grids.Walls
) -> dict[str, Any]:
    cell = frames.agent_cell_by_threshold(
        _patches(before, 0.05),
        _patches(after, 0.05),
        (start[0], start[1]),
        (target[0], target[1]),
        leaving=start == initial,
    )
    return {"action": maze_action(start, list(cell), layout), "pred_coord": list(cell)}


def progress_reward_grid(meta: dict[str, Any], input_state: int, next_coord: list[int], out_of_vocab: bool) -> float:
    size, goal = meta["level"], meta["target_pos"]
    distance = {divmod(int(cell), size): away for cell, away in {**meta["distance_map"], goal: 0}.items()}
    end = (-1, -1) if out_of_vocab else (next_coord[0], next_coord[1])
    return grids.step_reward(divmod(input_state, size), end, distance)


def progress_reward_mini(
    meta: dict[str, Any], position: list[int], carrying: bool, action: list[Any], next_coord: list[int]
) -> float:
    def ways(name: str) -> dict[grids.Cell, dict[grids.Cell, int]]:
        return {_cell(to): {_cell(cell): away for cell, away in way.items()} for to, way in meta[name].items()}

    to_printer, to_table = ways("distance_map_to_printer"), ways("distance_map_to_table")
    start, end = (position[0], position[1]), (next_coord[0], next_coord[1])
    return grids.errand_reward(start, end, action[1], to_printer, to_table, carrying)


def _cell(text: str) -> grids.Cell:
    row, column = text.strip("()").split(",")
    return int(row), int(column)
