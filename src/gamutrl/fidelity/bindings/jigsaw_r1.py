"""Jigsaw-R1's released code, answered by ours."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gamutrl.data import jigsaw
from gamutrl.fidelity import released
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import advantages as adv
from gamutrl.functional import geometry
from gamutrl.functional.groups import consecutive
from gamutrl.rewards import answers, boxes, grids, maths


def group_advantage(rewards_per_func: F32, weights: F32, num_generations: int, reduction: str) -> Tensor:
    groups = consecutive(len(rewards_per_func), num_generations)
    if reduction == "none":
        return adv.normalize_then_sum(rewards_per_func * weights, groups, torch.ones_like(weights) / len(weights))
    return adv.group_normalize(adv.weighted_sum(rewards_per_func, weights), groups)


iou = partial(geometry.box_iou, min_overlap=1, inverted="signed")


def extract_answer(output: str, m: int | None, n: int | None, answer_type: str, think: bool) -> Any:
    found = released.jigsaw_r1_answer(output, answer_type, think)
    return grids.grid_in(str(found), (m or 0) * (n or 0)) if answer_type == "grid" else found


def jigsaw_position_score(pred: list[int] | None, gt: list[int]) -> float:
    return grids.cells_right(pred, gt)


def jigsaw_connection_score(pred: list[int] | None, gt: list[int], m: int, n: int, forward: bool) -> float:
    return grids.neighbours_right(pred, gt, m, n, by_value=forward)


def box_iou_score(pred: Any, gt: Any) -> float:
    return float(iou(pred, gt)) if isinstance(pred, list) else 0.0


def point_in_box(pred: Any, gt: list[float]) -> float:
    if not isinstance(pred, list):
        return 0.0
    return float(geometry.points_in_boxes(geometry.box_centers(pred), gt))


def accuracy_reward(
    output: str,
    solution: Any,
    answer_type: str,
    think: bool,
    m: int | None,
    n: int | None,
    width: int,
    height: int,
    use_connections: bool,
) -> float:
    found = extract_answer(output, m, n, answer_type, think)
    if answer_type == "grid":
        connected = grids.neighbours_right(found, solution, m or 0, n or 0)
        return connected if use_connections else grids.cells_right(found, solution)
    if answer_type in ("box", "point"):
        return box_iou_score(found, boxes.to_frame(solution, (1, 1), (width, height)).tolist())
    if answer_type in ("math", "digit"):
        return float(bool(maths.math_equal(str(found), str(solution))))
    return answers.same_text(str(found), str(solution), ignore_case=True)


def format_reward(output: str, answer_type: str, think: bool, m: int | None, n: int | None) -> float:
    if think and not released.jigsaw_r1_layout(output):
        return 0.0
    found = (
        extract_answer(output, m, n, answer_type, think) if think or answer_type not in ("digit", "letter") else output
    )
    typed = {
        "math": True,
        "grid": isinstance(found, list) and len(found) == (m or 0) * (n or 0),
        "digit": isinstance(found, str) and found.isdigit(),
        "letter": isinstance(found, str) and len(found) == 1 and found.isupper(),
        "box": isinstance(found, list),
        "point": isinstance(found, list),
    }
    return float(typed.get(answer_type, False))


def pair_question(m: int, n: int, pos: int, k: int, l: int, patches_gt: list[int], seed: int) -> str:  # noqa: E741
    right = jigsaw.relation(patches_gt[k - 1], patches_gt[l - 1], n)
    choices = jigsaw.pair_choices((m, n), right, pos, random.Random(seed))
    return "\n".join(f"({letter}) {k} is {jigsaw.RELATIONS[c]} {l}" for letter, c in zip("ABCDEFGH", choices))
