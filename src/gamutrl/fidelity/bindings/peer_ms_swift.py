"""ms-swift, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F32, Leaf, Mask, gradient
from gamutrl.functional import advantages as adv
from gamutrl.functional import corrections, divergences, objectives, preference, ratios, shaping
from gamutrl.functional.groups import consecutive
from gamutrl.functional.weights import action_weights, masked_mean, weighted_total
from gamutrl.rewards import maths, repetition, tags
from gamutrl.rewards.lengths import cosine_length

# -- advantages -------------------------------------------------------------------------------------------------------


def grpo_advantages(
    rewards_per_func: F32,
    reward_weights: F32,
    num_generations: int,
    advantage_estimator: str,
    scale_rewards: str,
    kl_values: F32,
    beta: float,
) -> Tensor:
    groups = consecutive(len(rewards_per_func), num_generations)
    if scale_rewards == "gdpo" and advantage_estimator != "reinforce_plus_plus":
        return adv.normalize_then_sum(rewards_per_func, groups, reward_weights, whiten=True, eps=1e-8)
    reward = adv.weighted_sum(rewards_per_func, reward_weights).nan_to_num(0.0)
    reward = reward - beta * kl_values if beta else reward
    scale: Any = "none" if scale_rewards == "gdpo" else scale_rewards
    if advantage_estimator == "rloo":
        return adv.group_normalize(reward, groups, scale=scale) * num_generations / (num_generations - 1)
    if advantage_estimator == "reinforce_plus_plus" and scale == "batch":
        reward = adv.group_normalize(reward, groups, scale="none")
    return adv.group_normalize(reward, groups, scale=scale)


def rlsd_reweight(
    base_advantages: F32,
    policy_per_token_logps: F32,
    teacher_per_token_logps: F32,
    completion_mask: F32,
    lam: float,
    clip_range: float,
    negative_only: bool,
) -> Tensor:
    reweighted = corrections.teacher_reweighted(
        base_advantages[:, None],
        policy_per_token_logps,
        teacher_per_token_logps,
        lam,
        clip_range,
        negative_only=negative_only,
    )
    return reweighted * completion_mask


# -- losses -----------------------------------------------------------------------------------------------------------


def _kl(logps: Tensor, ref_logps: Tensor | None, beta: float) -> Tensor | float:
    return beta * divergences.kl_estimate(logps, ref_logps, bound=20, clamp=10) if ref_logps is not None else 0.0


def grpo_loss(
    per_token_logps: Leaf,
    old_per_token_logps: F32,
    mask: F32,
    advantages: F32,
    loss_type: str,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    importance_sampling_level: ratios.Level = "token",
    beta: float = 0.0,
    ref_per_token_logps: F32 | None = None,
    delta: float | None = None,
    num_items_in_batch: float = 1,
    max_completion_length: int = 1,
    overlong_filter: bool = False,
    truncated: Mask | None = None,
    off_policy_sequence_mask_delta: float | None = None,
) -> dict[str, Tensor]:
    advantage = advantages[:, None]
    if overlong_filter and truncated is not None:
        mask = mask * ~truncated[:, None]
    if off_policy_sequence_mask_delta is not None:
        old = per_token_logps if old_per_token_logps is None else old_per_token_logps
        keep = corrections.off_policy_rows(per_token_logps, old, mask, advantage, off_policy_sequence_mask_delta)
        mask = mask * keep
    ratio = ratios.log_ratio(per_token_logps, old_per_token_logps, mask, importance_sampling_level)
    if loss_type == "cispo":
        weight = objectives.truncated_ratio(ratio, upper=epsilon_high)
        terms = objectives.policy_gradient(per_token_logps, advantage, weight)
    else:
        terms = objectives.clipped_surrogate(ratio, advantage, epsilon_low, epsilon_high, cap=delta)
    terms = terms + _kl(per_token_logps, ref_per_token_logps, beta)
    aggregation: Any = {
        "grpo": {},
        "bnpo": {"over": "token"},
        "dr_grpo": {"constant": max_completion_length},
        "dapo": {"over": "token", "constant": num_items_in_batch},
        "cispo": {"over": "token", "constant": num_items_in_batch},
    }[loss_type]
    loss = weighted_total(terms.expand_as(mask), action_weights(mask, **aggregation))
    return {"loss": loss, "grad_per_token_logps": gradient(loss, per_token_logps)}


def grpo_loss_fipo(
    per_token_logps: Leaf,
    old_per_token_logps: F32,
    mask: F32,
    advantages: F32,
    fipo_gamma: float,
    fipo_clip_range: float | None,
    num_items_in_batch: float,
    loss_type: str,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    fipo_safety_threshold: float | None = None,
    fipo_clip_high_only: bool = False,
    delta: float | None = None,
) -> dict[str, Tensor]:
    advantage = advantages[:, None]
    ratio = ratios.log_ratio(per_token_logps, old_per_token_logps)
    drift = corrections.future_drift(ratio, mask, fipo_gamma, drop_above=delta)
    lower = None if fipo_clip_range is None else 1.0 if fipo_clip_high_only else 1 - fipo_clip_range
    weight = objectives.truncated_ratio(drift, lower, None if fipo_clip_range is None else 1 + fipo_clip_range)
    if fipo_safety_threshold is not None:
        runaway = (advantage < 0) & (ratio.exp() > fipo_safety_threshold)
        weight = torch.where(runaway, weight.clamp(0.8, 1.0), weight)
    terms = weight * objectives.clipped_surrogate(ratio, advantage, epsilon_low, epsilon_high, cap=delta)
    loss = weighted_total(terms, action_weights(mask, "token", constant=num_items_in_batch))
    return {"loss": loss, "grad_per_token_logps": gradient(loss, per_token_logps)}


def grpo_loss_real(
    per_token_logps: Leaf,
    old_per_token_logps: F32,
    mask: F32,
    advantages: F32,
    num_generations: int,
    real_tau: float,
    loss_type: str,
    beta: float = 0.0,
    ref_per_token_logps: F32 | None = None,
) -> dict[str, Tensor]:
    score = ratios.log_ratio(per_token_logps, old_per_token_logps, mask, "sequence")[:, 0]
    groups = consecutive(len(score), num_generations)
    loss_G, both_G = preference.group_classification(score, advantages > 0, groups, real_tau)
    loss = torch.where(both_G, loss_G, 0.0).mean()
    if beta and ref_per_token_logps is not None:
        loss = loss + masked_mean(_kl(per_token_logps, ref_per_token_logps, beta), mask)  # type: ignore[arg-type]
    return {"loss": loss, "grad_per_token_logps": gradient(loss, per_token_logps)}


def sdar_loss(
    student_log_probs: Leaf, teacher_log_probs: F32, response_mask: F32, gate_beta: float, loss_agg_mode: str
) -> dict[str, Tensor]:
    gap = teacher_log_probs - student_log_probs
    gate = torch.sigmoid(gate_beta * gap).detach()
    aggregation: Any = {
        "token-mean": {"over": "token"},
        "seq-mean-token-sum": {"constant": 1},
        "seq-mean-token-mean": {},
    }[loss_agg_mode]
    loss = weighted_total(gate * gap, action_weights(response_mask, **aggregation))
    gate_mean = masked_mean(gate, response_mask)
    return {"loss": loss, "grad": gradient(loss, student_log_probs), "gate_mean": gate_mean}


# -- rewards of text and length ------------------------------------------------------------------------------------


def cosine_reward(
    accuracies: list[float],
    lengths: list[int],
    max_len: int,
    min_len_value_correct: float,
    max_len_value_correct: float,
    min_len_value_wrong: float,
    max_len_value_wrong: float,
) -> list[float]:
    values: Any = {
        "longest": max_len,
        "when_right": (min_len_value_correct, max_len_value_correct),
        "when_wrong": (min_len_value_wrong, max_len_value_wrong),
        "clip": False,
    }
    return [cosine_length(length, accuracy >= 1, **values) for length, accuracy in zip(lengths, accuracies)]


def soft_overlong_reward(lengths: F32, max_completion_len: int, soft_punish_cache: int) -> Tensor:
    return shaping.soft_overlong(lengths, max_completion_len, soft_punish_cache, floored=False)


def repetition_reward(completions: list[str], ngram_size: int, max_penalty: float) -> list[float]:
    return [-max_penalty * repetition.repeated_words(text, n=ngram_size) for text in completions]


def format_reward(completions: list[str]) -> list[float]:
    return [tags.tag_format(text) for text in completions]


def react_format_reward(completions: list[str]) -> list[float]:
    steps = (r"</think>\s*+Action:", "Action Input:")
    return [float(text.startswith("<think>") and tags.in_order(text, steps)) for text in completions]


def math_accuracy_reward(completions: list[str], solution: list[str]) -> list[float]:
    boxed = maths.Reading(kinds=("latex",), unanchored=False, boxed_priority=0, first_match=True)

    def verified(completion: str, gold: str) -> float:
        given = tags.tag_text(completion)
        read = boxed if given is None else maths.Reading()
        gold = tags.tag_text(gold, missing="whole")
        given = completion if given is None else given
        return float(bool(maths.math_equal(given, gold, read=read, read_gold=maths.Reading(first_match=True))))

    return [verified(*pair) for pair in zip(completions, solution)]
