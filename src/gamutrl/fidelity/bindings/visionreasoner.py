"""VisionReasoner's released code, answered by ours."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F32, Labels
from gamutrl.functional import divergences, geometry
from gamutrl.rewards import objects, parsing, repetition, tags


def grpo_outcome_advantage(scores: F32, index: Labels) -> Tensor:
    return compose.outcome(scores, index)


def kl_low_var(logprob: F32, ref_logprob: F32) -> Tensor:
    return divergences.kl_estimate(logprob, ref_logprob, clamp=10)


def _read(text: str) -> list[parsing.Detection] | None:
    return released.visionreasoner_objects(released.visionreasoner_items(text))


def accuracy_reward(predict_str: str, ground_truth: str) -> float:
    overlap = partial(geometry.box_iou, pixels=1)
    return objects.box_and_point_score(predict_str, ground_truth, read=_read, overlap=overlap)


def format_reward(predict_str: str) -> float:
    return tags.tag_format(predict_str) + released.visionreasoner_format(predict_str)


def non_repeat_reward(predict_str: str) -> float:
    return repetition.repeated_sentences(predict_str)


def compute_score(predict_str: str, ground_truth: str) -> float:
    return format_reward(predict_str) + accuracy_reward(predict_str, ground_truth) + non_repeat_reward(predict_str)
