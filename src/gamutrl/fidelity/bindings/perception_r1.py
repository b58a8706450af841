"""Perception-R1's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F32, F64
from gamutrl.functional import divergences, geometry
from gamutrl.rewards import boxes, parsing, tags


def group_advantage(
    rewards_per_func: F32,
    num_generations: int,
    kl_approximator: str,
    no_mean_for_same_reward: bool,
    reward_scale: float,
) -> Tensor:
    kept: Any = {"flat": "raw", "clip": 1} if no_mean_for_same_reward else {}
    scale: Any = "none" if kl_approximator == "fullkimi" else "group"
    return compose.grouped(rewards_per_func.sum(1) * reward_scale, num_generations, scale=scale, **kept)


def kl_estimators(logp: F64, ref_logp: F64) -> dict[str, Tensor]:
    names: dict[str, divergences.Estimator] = {"k1": "k1", "k3": "k3", "kimi": "k2"}
    return {name: divergences.kl_estimate(logp, ref_logp, kind) for name, kind in names.items()}


iou = partial(geometry.box_iou, inverted="signed")


def compute_iou(box1: list[float], box2: list[float]) -> float:
    return float(iou(box1, box2))


def parse_float_sequence(input_str: str) -> list[float]:
    return released.perception_r1_numbers(input_str)


def extract_bbox_answer(content: str) -> list[Any]:
    native = "<|box_start|>" in content
    box = released.perception_r1_numbers(content)
    return [box if native else [int(1000 * side) for side in box], native]


def grounding_reward(completion: str, solution: str) -> float:
    box, _ = extract_bbox_answer(completion.replace("<|endoftext|>", ""))
    read = partial(lambda text, box: parsing.detections([box]), box=box)
    return boxes.box_score(completion, solution, read=read, overlap=iou, power=2)


def grounding_format_reward(completion: str) -> float:
    return released.perception_r1_format(completion)


def think_format_reward(completion: str) -> float:
    return tags.tag_format(completion.removesuffix("\n"), between="nothing", multiline=False)
