"""EchoInk-R1's released code, answered by ours."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import geometry
from gamutrl.rewards import answers, maths, spans, tags


def reward_shaping_and_advantage(
    rewards_per_func: F32, lengths: F32, weighted_reward: bool, len_control: bool
) -> dict[str, Tensor]:
    weight = torch.tensor([2.0 if weighted_reward else 1.0, 1.0])
    return compose.shaped_group(rewards_per_func, lengths, (160, 256) if len_control else None, weight=weight)


def _retrieval(given: str, truth: str) -> float:
    found, true = (spans.spans_in(text) for text in (given, truth))
    return geometry.span_set_iou(found, true, both_empty=0.0, merged=False)


TYPES: dict[str, answers.Compare] = {
    "multiple choice": answers.same_text,
    "numerical": answers.same_number,
    "regression": answers.relative_error,
    "temporal retrieval": _retrieval,
    "counting": maths.maths,
    "free-form": partial(answers.rouge, kinds=("rougeL",)),
}


def accuracy_reward(completion: str, solution: str, problem_type: str) -> float:
    return answers.typed_accuracy(completion, solution, problem_type, compare=TYPES, missing="empty") or 0.0


def format_reward(completion: str) -> float:
    return tags.tag_format(completion, strip=True, nonempty=True, once=True)
