"""R1-Reward's released code, answered by ours."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F32, F64, tensor
from gamutrl.functional import advantages as adv
from gamutrl.functional import (
    divergences,
)
from gamutrl.functional.weights import masked_mean
from gamutrl.rewards import answers, judging, maths, repetition, tags


def stablereinforce_policy_loss(
    log_probs: F64, old_log_probs: F64, advantages: F64, action_mask: F64, clip_eps: float
) -> Tensor:
    mask = torch.ones_like(log_probs) if action_mask is None else action_mask
    return compose.grpo_loss(log_probs, advantages, mask, old=old_log_probs, low=clip_eps, bound=math.log(1000))


def kl_shaped_returns(
    reward: F32, log_probs: F32, ref_log_probs: F32, action_mask: F32, kl_coef: float, gamma: float
) -> dict[str, Tensor]:
    kl = divergences.kl_estimate(log_probs, ref_log_probs, "k1")
    shaped = adv.kl_shaped_rewards(reward, kl, action_mask, max(kl_coef, 0.0), reward_clip=10)
    returns = adv.discounted_returns(shaped, torch.ones_like(action_mask), gamma)
    return {"token_rewards": shaped, "returns": returns}


def accuracy_reward(content: str, sols: list[str]) -> float:
    said = tags.tag_text(content, missing="whole")
    for phrase in released.LEAD_INS:
        said = said.replace(phrase, "")
    truths = [tags.tag_text(one, missing="whole") for one in sols]
    return float(any(maths.maths(said, truth) for truth in truths))


def format_ok(content: str) -> bool:
    once = content.count("<think>") == content.count("<answer>") == 1
    return once and bool(tags.tag_format(content.removesuffix("\n"), between="nothing"))


def consistency_judge_fields(response: str) -> dict[str, str]:
    tail = response.partition("<answer>")[0].strip().split("\n")[-3:]
    said = tags.tag_text(response, missing="whole")
    return {"analysis_tail": ";".join(tail), "verbalised_choice": judging.spoken_choice(said)}


def consistency_score(replies: list[str]) -> int:
    return next((value for value in map(judging.one_or_zero, replies[:3]) if value), 0)


def choice_to_rewards(critic: str) -> list[int]:
    said = tags.tag_text(critic)
    last = max(critic.rfind("1"), critic.rfind("2"))
    number = answers.to_number(said if said is not None else critic[last : last + 1])
    return [1, 0] if number == 1 else [0, 1]


def repetition_penalty(completion: str, repetition_n_grams: int, repetition_max_penalty: float) -> float:
    return -repetition_max_penalty * repetition.repeated_words(completion, n=repetition_n_grams)


def total_reward(response: str, sols: list[str], judge_reply: str) -> float:
    response = response.strip()
    consistency = consistency_score([judge_reply] * 3)
    return 0.5 * format_ok(response) + accuracy_reward(response, sols) * (1 + 0.5 * consistency)


def advantage_filter(advantages: list[list[float]], action_masks: list[list[int]] | None) -> dict[str, Any]:
    flat = torch.cat([tensor(row) for row in advantages])
    mask = torch.ones_like(flat) if action_masks is None else torch.cat([tensor(row) for row in action_masks])
    mean = flat.sum() / mask.sum()  # Released: of all entries over the number of unmasked ones.
    rstd = masked_mean((flat - mean).square(), mask).clamp(min=1e-8).rsqrt()
    kept = adv.without_outliers((flat - mean) * rstd + 1e-8, mean)
    return {"advantages": list(kept.split([len(row) for row in advantages])), "mean": mean, "rstd": rstd}
