"""Ground-R1's released code, answered by ours."""

from __future__ import annotations

import re

import numpy as np
from torch import Tensor

from gamutrl.environments import crops
from gamutrl.fidelity import released_agents
from gamutrl.fidelity.inputs import F64
from gamutrl.functional import divergences, geometry
from gamutrl.recipes import ground_r1
from gamutrl.rewards import answers, maths, tags


def kl_clamped_k3(logp: F64, ref_logp: F64) -> Tensor:
    return divergences.kl_estimate(logp, ref_logp, bound=10)


def bbox_adjust(bbox: list[float], input_width: int, input_height: int, width: int, height: int) -> list[float]:
    x1, y1, x2, y2 = bbox
    shown = (x1, y1, min(x2, input_width), min(y2, input_height))
    box = crops.at_least(crops.whole(crops.scaled(shown, (input_width, input_height), (width, height))), 28)
    return box if crops.elongation(box) < 200 else []


def format_reward_all_stage(completion: list[str]) -> float:
    return 2 * ground_r1.layout(completion)


def giou_scaled(gt_bbox: list[list[float]], student_bbox: list[list[float]]) -> float:
    return float(geometry.box_giou(np.ravel(gt_bbox), np.ravel(student_bbox))) + 1


def choice_reward(content: str, ground_truth: str) -> float:
    if answers.same_text(released_agents.ground_r1_letter(content), ground_truth, ignore_case=True):
        return 1.0
    found = re.search(r"\b([A-D])\.", content)
    return float("<answer>" not in content and found is not None and found[1] == ground_truth)


def math_reward(content: str, ground_truth: str) -> float:
    said = tags.tag_text(content, missing="whole")
    if maths.math_equal(said, ground_truth) or answers.only_letter(said, ground_truth):
        return 1.0
    return 0.0 if maths.maths_in(ground_truth) else answers.same_text(said, ground_truth)


def ocr_freeform_reward(content: str, ground_truth: str, dataset: str) -> float:
    return ground_r1.TYPES[dataset](tags.tag_text(content, missing="whole"), ground_truth)


def open_ended_reward(content: str, ground_truth: str) -> float:
    return answers.same_or_contained(tags.tag_text(content, missing="whole").rpartition("<answer>")[2], ground_truth)


def visual_toolbox_reward(content: str, ground_truth: str) -> float:
    said, asked = tags.tag_text(content, missing="whole").lower().split(), ground_truth.lower().split()
    if any(word in "".join(asked[:1]) and said[:1] == [word] for word in ("yes", "no")):
        return 1.0
    if (
        re.match(rf"{re.escape(ground_truth[:1])}\W", tags.tag_text(content, missing="whole"))
        and len(ground_truth) == 1
    ):
        return 1.0
    return answers.rouge(tags.tag_text(content, missing="whole"), ground_truth)
