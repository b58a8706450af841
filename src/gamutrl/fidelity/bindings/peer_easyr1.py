"""EasyR1, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import F32, Labels, Leaf, gradient, tensor
from gamutrl.functional import advantages as adv
from gamutrl.functional import divergences, objectives, ratios, shaping
from gamutrl.functional.weights import action_weights, masked_mean, weighted_total
from gamutrl.rewards import benchmarks, grading, tags
from gamutrl.rewards.answers import first_of

# -- advantages -------------------------------------------------------------------------------------------------------


def _per_token(advantage_R: Tensor, mask: Tensor) -> dict[str, Tensor]:
    advantage_NT = advantage_R[:, None] * mask
    return {"advantages": advantage_NT, "returns": advantage_NT}


def grpo_outcome_advantage(token_level_rewards: F32, response_mask: F32, index: Labels) -> dict[str, Tensor]:
    return _per_token(adv.group_normalize(token_level_rewards.sum(1), index, eps=1e-6), response_mask)


def grpo_passk_advantage(token_level_rewards: F32, response_mask: F32, index: Labels) -> dict[str, Tensor]:
    return _per_token(adv.best_of_group(token_level_rewards.sum(1), index), response_mask)


def rloo_outcome_advantage(token_level_rewards: F32, response_mask: F32, index: Labels) -> dict[str, Tensor]:
    return _per_token(adv.leave_one_out(token_level_rewards.sum(1), index), response_mask)


def reinforce_plus_plus_advantage(token_level_rewards: F32, response_mask: F32, gamma: float) -> dict[str, Tensor]:
    returns = adv.discounted_returns(token_level_rewards, response_mask, gamma, outside="reset")
    return {"advantages": adv.masked_whiten(returns, response_mask)[0], "returns": returns}


def gae_advantage_return(
    token_level_rewards: F32, values: F32, response_mask: F32, gamma: float, lam: float
) -> dict[str, Tensor]:
    advantage, returns = adv.generalized_advantages(token_level_rewards, values, response_mask, gamma, lam)
    return {"advantages": adv.masked_whiten(advantage, response_mask)[0], "returns": returns}


# -- losses -----------------------------------------------------------------------------------------------------------


def average_loss(values: F32, mask: F32, mode: str) -> Tensor:
    over: Any = {"token": "token", "seq": "sequence"}[mode]
    return weighted_total(values, action_weights(mask, over, eps=1e-8))


def _answer(terms: Tensor, logp: Tensor, log_ratio: Tensor, mask: Tensor, mode: str, **logged: Any) -> dict[str, Any]:
    loss = average_loss(terms, mask, mode)
    return {
        "loss": loss,
        "grad_log_prob": gradient(loss, logp),
        "ppo_kl": masked_mean(-log_ratio, mask, eps=1e-8),
        "entropy_loss": average_loss(-logp, mask, mode),
        **logged,
    }


def policy_loss_default(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    clip_ratio_low: float,
    clip_ratio_high: float,
    clip_ratio_dual: float,
    loss_avg_mode: str,
    level: ratios.Level = "token",
    **_: Any,
) -> dict[str, Any]:
    ratio = ratios.log_ratio(log_prob, old_log_prob, response_mask, level, bound=20, eps=1e-8)
    ratio = ratio * response_mask if level == "sequence" else ratio
    clip: Any = {"low": clip_ratio_low, "high": clip_ratio_high, "cap": clip_ratio_dual}
    terms = objectives.clipped_surrogate(ratio, advantages, **clip)
    held = objectives.clipped_actions(ratio, advantages, **clip)
    shares = {"pg_clipfrac_higher": held.low | held.high, "pg_clipfrac_lower": held.cap}
    logged = {name: masked_mean(where.float(), response_mask, eps=1e-8) for name, where in shares.items()}
    return _answer(terms, log_prob, log_prob - old_log_prob, response_mask, loss_avg_mode, **logged)


def policy_loss_gspo(log_prob: Leaf, old_log_prob: F32, advantages: F32, response_mask: F32, **inputs: Any) -> Any:
    return policy_loss_default(log_prob, old_log_prob, advantages, response_mask, level="sequence", **inputs)


def policy_loss_gspo_token(
    log_prob: Leaf, old_log_prob: F32, advantages: F32, response_mask: F32, **inputs: Any
) -> dict[str, Any]:
    return policy_loss_default(log_prob, old_log_prob, advantages, response_mask, level="sequence_token", **inputs)


def policy_loss_cispo(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    clip_ratio_low: float,
    clip_ratio_high: float,
    loss_avg_mode: str,
    **_: Any,
) -> dict[str, Any]:
    ratio = ratios.log_ratio(log_prob, old_log_prob)
    weight = objectives.truncated_ratio(ratio, 1 - clip_ratio_low, 1 + clip_ratio_high)
    terms = objectives.policy_gradient(log_prob, advantages, weight)
    return _answer(terms, log_prob, ratio, response_mask, loss_avg_mode)


def policy_loss_sapo(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    tau_positive: float,
    tau_negative: float,
    loss_avg_mode: str,
    **_: Any,
) -> dict[str, Any]:
    ratio = ratios.log_ratio(log_prob, old_log_prob, bound=20)
    terms = objectives.soft_gate(ratio, advantages, tau_positive, tau_negative, zero_rises=True)
    return _answer(terms, log_prob, log_prob - old_log_prob, response_mask, loss_avg_mode)


def value_loss(
    vpreds: Leaf, values: F32, returns: F32, response_mask: F32, cliprange_value: float, loss_avg_mode: str
) -> dict[str, Any]:
    terms, clipped = objectives.clipped_value_loss(vpreds, values, returns, cliprange_value)
    loss = average_loss(terms, response_mask, loss_avg_mode)
    return {
        "loss": loss,
        "grad_vpreds": gradient(loss, vpreds),
        "vf_clipfrac": masked_mean(clipped.float(), response_mask, eps=1e-8),
        "vpred_mean": masked_mean(vpreds, response_mask, eps=1e-8),
    }


def kl_full(log_probs: F32, ref_log_probs: F32) -> Tensor:
    return divergences.kl_full(log_probs, ref_log_probs)


def kl_penalty(log_probs: Leaf, ref_log_probs: F32, kl_penalty: str) -> dict[str, Tensor]:
    kind: divergences.Estimator = {"kl": "k1", "abs": "abs", "mse": "k2", "low_var_kl": "k3"}[kl_penalty]  # type: ignore
    bounds: Any = {"bound": 20, "clamp": 10} if kind == "k3" else {}
    kl = divergences.kl_estimate(log_probs, ref_log_probs, kind, **bounds)
    return {"kl": kl, "grad_sum": gradient(kl.sum(), log_probs)}


# -- rewards of text and length ------------------------------------------------------------------------------------


def math_score(response: str, ground_truth: str, format_weight: float) -> dict[str, float]:
    response = benchmarks.tight_tags(response)
    return _graded(boxed_format(response), grading.boxed(response), ground_truth, format_weight)


def boxed_format(response: str) -> float:
    after = ("</think>", r"\\boxed\{", r"\}")
    return float(response.startswith("<think>") and tags.in_order(response, after))


def r1v_score(response: str, ground_truth: str, format_weight: float) -> dict[str, float]:
    given = tags.tag_text(response, multiline=False, missing="whole")
    return _graded(tags.tag_format(response), given, ground_truth, format_weight)


def _graded(layout: float, given: str | None, truth: str, weight: float) -> dict[str, float]:
    accuracy = float(grading.same_answer(given, truth))
    return {"overall": (1 - weight) * accuracy + weight * layout, "format": layout, "accuracy": accuracy}


def index_choice_score(response: str, ground_truth: str) -> dict[str, float]:
    accuracy = float((first_of(response, ("0", "1", "2")) or "") == ground_truth)
    return {"overall": accuracy, "accuracy": accuracy}


def dapo_score(
    response: str,
    ground_truth: str,
    response_length: int,
    max_response_length: int,
    overlong_buffer_length: int,
    overlong_penalty_factor: float,
) -> dict[str, float]:
    right = benchmarks.minerva_answer(response) == benchmarks.spelled_minerva(ground_truth)
    accuracy = 1.0 if right else -1.0
    overlong = float(shaping.soft_overlong(tensor(response_length), max_response_length, overlong_buffer_length))
    return {
        "overall": accuracy + overlong_penalty_factor * overlong,
        "accuracy": accuracy,
        "overlong": overlong,
        "accuracy_normalized": (accuracy + 1) / 2,
    }
