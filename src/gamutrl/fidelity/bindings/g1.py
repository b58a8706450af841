"""G1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.data.worlds import boards
from gamutrl.environments import games
from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, Labels
from gamutrl.rewards import tags


def grpo_outcome_advantage(scores: F32, index: Labels, length: int) -> Tensor:
    return compose.outcome(scores, index)


def kl_penalty(lp: F64, ref: F64, kind: str) -> Tensor:
    return compose.verl_kl(lp, ref, kind)


def policy_loss(old: F64, new: F64, adv: F64, mask: F64, clip: float) -> list[Tensor]:
    answer = compose.verl_loss(new, old, adv, mask, clip)
    return [answer["loss"], answer["clipped"], answer["kl"]]


def apply_action_2048(board: boards.Board, action: int) -> dict[str, Any]:
    moved, score = boards.slide(board, action)
    return {"board": moved, "score": score, "legal": action == boards.STAY or moved != board}


board_text_2048 = boards.board_text


def is_terminated_2048(board: boards.Board) -> bool:
    return boards.is_over(board)


def match3_find_matches(board: boards.Tiles) -> list[list[int]]:
    return [list(cell) for cell in sorted(boards.matches(board))]


def match3_swap(board: boards.Tiles, pos1: list[int], pos2: list[int]) -> dict[str, Any]:
    removed, score = boards.swap(board, (pos1[0], pos1[1]), (pos2[0], pos2[1]))
    return {"valid": bool(removed), "removed": [list(cell) for cell in sorted(removed)], "score": score}


def shisensho_can_connect(board: boards.Tiles, pos1: list[int], pos2: list[int]) -> bool:
    return boards.can_connect(board, (pos1[0], pos1[1]), (pos2[0], pos2[1]))


def parse_action_2048(text: str) -> int:
    return games.move_in(text)


def parse_action_shisensho(text: str) -> int:
    return games.cells_code(text, 6, 1297)


def parse_action_swap(text: str) -> int:
    return games.cells_code(text, 8, 4095)


def format_reward(responses: list[str]) -> list[int]:
    return [int(tags.has_marks(text, ("perception", "think", "answer"))) for text in responses]


def perception_reward(perception: list[str], responses: list[str]) -> list[int]:
    return [int(board in text) for board, text in zip(perception, responses)]


def reward_shaping(game: str, reward: float) -> float:
    return reward if game == "shisensho" else boards.won(reward)
