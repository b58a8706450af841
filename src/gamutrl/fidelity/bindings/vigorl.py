"""ViGoRL's released code, answered by ours."""

from __future__ import annotations

import re

from torch import Tensor

from gamutrl.environments import crops, search
from gamutrl.fidelity import compose, released_agents
from gamutrl.fidelity.inputs import F32, F64
from gamutrl.rewards import answers, tags, zooming


def kl_penalty(log_probs: F32, ref_log_probs: F32, kl_penalty: str) -> Tensor:
    return compose.verl_kl(log_probs, ref_log_probs, kl_penalty)


def policy_loss(
    log_probs: F64,
    old_log_probs: F64,
    advantages: F64,
    response_mask: F64,
    clip_ratio_low: float,
    clip_ratio_high: float,
    clip_ratio_dual: float,
) -> dict[str, Tensor]:
    answer = compose.verl_loss(
        log_probs, old_log_probs, advantages, response_mask, clip_ratio_low, clip_ratio_high, clip_ratio_dual
    )
    return {
        "pg_loss": answer["loss"],
        "clipfrac_higher": answer["clipped"],
        "clipfrac_lower": answer["capped"],
        "ppo_kl": answer["kl"],
    }


def mcts_ucb_score(child_value: float, child_visits: int, parent_visits: int, c_puct: float) -> float:
    return search.upper_confidence(child_value, child_visits, parent_visits, exploration=c_puct)


def point_crop_box(point: list[int], width: int, height: int, offset: int) -> list[float]:
    return crops.around(point, offset, (width, height))


def _overall(accuracy: float, layout: float, weight: float = 0.5) -> dict[str, float]:
    return {"overall": weight * accuracy + (1 - weight) * layout, "format": layout, "accuracy": accuracy}


def _answer(text: str) -> str:
    return tags.tag_text(text, multiline=False, missing="whole")


def point_in_bbox_grounded(predict_str: str, ground_truth: str) -> dict[str, float]:
    accuracy = released_agents.vigorl_point_in_box(_answer(predict_str), ground_truth)
    return _overall(accuracy, released_agents.vigorl_layout(predict_str, point=True))


def string_match_grounded(predict_str: str, ground_truth: str) -> dict[str, float]:
    said = re.sub(r"^[A-Za-z][.)]\s*+", "", _answer(predict_str))
    accuracy = answers.same_text(said.lower(), ground_truth)
    return _overall(accuracy, released_agents.vigorl_layout(predict_str))


def web_action_grounded(predict_str: str, ground_truth: str) -> dict[str, float]:
    accuracy = released_agents.vigorl_web_action(_answer(predict_str), ground_truth)
    return _overall(accuracy, released_agents.vigorl_layout(predict_str, answered=False))


def point_in_bbox_multicrop(predict_str: str, ground_truth: str) -> dict[str, float]:
    accuracy = released_agents.vigorl_point_in_box(_answer(predict_str), ground_truth)
    return _overall(accuracy, zooming.pointed_layout(predict_str, point=True), 0.6)


def string_match_multiturn(predict_str: str, ground_truth: str) -> dict[str, float]:
    accuracy = answers.accuracy(predict_str.lower(), ground_truth.lower(), compare=answers.same_text, missing="whole")
    return _overall(accuracy, zooming.pointed_layout(predict_str), 0.6)
