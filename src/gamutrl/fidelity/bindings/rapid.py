"""RAPID's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, Labels
from gamutrl.rewards import combine, grading


def grpo_outcome_advantage(scores: F32, response_mask: F32, index: Labels) -> Tensor:
    return compose.outcome(scores, index, response_mask)


def kl_penalty(logprob: F64, ref_logprob: F64, kl_penalty: str) -> Tensor:
    return compose.verl_kl(logprob, ref_logprob, kl_penalty)


def policy_loss(
    log_prob: F64,
    old_log_prob: F64,
    advantages: F64,
    response_mask: F64,
    cliprange_high: float = 0.25,
    loss_agg_mode: str = "token-mean",
) -> dict[str, Any]:
    answer = compose.verl_loss(
        log_prob, old_log_prob, advantages, response_mask, 0.2, cliprange_high, 3.0, mode=loss_agg_mode
    )
    return {
        "loss": answer["loss"],
        "clip_fraction": answer["clipped"],
        "kl": answer["kl"],
        "dual_clip_fraction": 0.0,  # Released: compared after the cap, so never above it.
    }


def answer_reward(predict_str: str, ground_truth: str) -> float:
    return float(grading.same_answer(grading.boxed(predict_str) or "None", ground_truth))


def caption_penalty(answer_rewards: F32, check_texts: list[str]) -> dict[str, Any]:
    described = [text.startswith("Yes") for text in check_texts]
    fault = ~torch.tensor(described, dtype=torch.bool)
    return {"contain_cap": [int(has) for has in described], "rewards": combine.penalised(answer_rewards, fault)}
