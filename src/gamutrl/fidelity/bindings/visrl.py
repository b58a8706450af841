"""VisRL's released code, answered by ours."""

from __future__ import annotations

from random import Random
from typing import Any

from torch import Tensor

from gamutrl.environments import crops
from gamutrl.fidelity.inputs import tensor
from gamutrl.functional import geometry, preference
from gamutrl.rewards import pairs, parsing


def two_step_dpo_loss(step1: dict[str, Any], step2: dict[str, Any], beta: float, ftx: float) -> Tensor:
    def loss(step: dict[str, Any]) -> Tensor:
        pi_c, pi_r, ref_c, ref_r, length = (
            tensor(step[name]) for name in ("pi_chosen", "pi_rejected", "ref_chosen", "ref_rejected", "len_chosen")
        )
        return preference.dpo(pi_c - ref_c, pi_r - ref_r, beta) - ftx * pi_c / length

    return (0.5 * loss(step1) + 0.5 * loss(step2)).mean()


def bbox_iou_square(pred: Any, gt: Any, w: int, h: int) -> float:
    found, true = parsing.numbers(pred, 4), parsing.numbers(gt, 4)
    if found is None or true is None:
        return 0.0
    return float(geometry.box_iou(*(crops.scaled(box, (1, 1), (w, h)) for box in (found, true))))


def preference_filter(groups: list[list[dict[str, Any]]]) -> list[list[str]]:
    kept = []
    for group in groups:
        rows = [row for row in group if None not in (row["accuracy"], row["accuracy_bbox"])]
        pair = pairs.both_good_and_bad([row["accuracy"] for row in rows], [row["accuracy_bbox"] for row in rows])
        kept += [] if pair is None else [[rows[i]["id"] for i in pair]]
    return kept


def random_negative_box(std: list[float], seed: int, max_size_diff: float, max_attempts: int) -> list[float] | None:
    return crops.box_elsewhere(std, Random(seed), differ=max_size_diff, attempts=max_attempts)
