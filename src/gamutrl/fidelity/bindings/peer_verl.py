"""verl, answered by ours."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F32, I64, Labels, Leaf, Mask, arguments, gradient
from gamutrl.functional import advantages as adv
from gamutrl.functional import corrections, divergences, objectives, probabilities, ratios, shaping
from gamutrl.functional.weights import action_weights, masked_mean, weighted_total
from gamutrl.rewards import benchmarks, grading, tags

# -- advantages -------------------------------------------------------------------------------------------------------


def _per_token(advantage_R: Tensor, mask: Tensor) -> dict[str, Tensor]:
    advantage_NT = advantage_R[:, None] * mask
    return {"advantages": advantage_NT, "returns": advantage_NT}


def grpo_outcome_advantage(
    token_level_rewards: F32, response_mask: F32, index: Labels, norm_adv_by_std_in_grpo: bool = True
) -> dict[str, Tensor]:
    scale: adv.Scale = "group" if norm_adv_by_std_in_grpo else "none"
    reward = token_level_rewards.sum(1)
    advantage = adv.group_normalize(reward, index, scale=scale, eps=1e-6, singleton="raw")
    return _per_token(advantage, response_mask)


grpo_vectorized_outcome_advantage = grpo_outcome_advantage


def grpo_passk_advantage(
    token_level_rewards: F32, response_mask: F32, index: Labels, norm_adv_by_std_in_grpo: bool = True
) -> dict[str, Tensor]:
    advantage = adv.best_of_group(token_level_rewards.sum(1), index, scaled=norm_adv_by_std_in_grpo)
    return _per_token(advantage, response_mask)


def gdpo_advantage(
    rewards: dict[str, list[float]],
    weights: list[float] | None,
    index: Labels,
    response_mask: F32,
    norm_adv_by_std_in_grpo: bool = True,
) -> Tensor:
    reward_RK = torch.tensor(list(rewards.values())).T
    weight_K = torch.ones(len(rewards)) if weights is None else torch.tensor(weights)
    scale: adv.Scale = "group" if norm_adv_by_std_in_grpo else "none"
    summed = adv.normalize_then_sum(reward_RK, index, weight_K, scale=scale, eps=1e-6, singleton="raw")
    return adv.masked_whiten(summed[:, None] * response_mask, response_mask)[0] * response_mask


def rloo_outcome_advantage(token_level_rewards: F32, response_mask: F32, index: Labels) -> dict[str, Tensor]:
    return _per_token(adv.leave_one_out(token_level_rewards.sum(1), index, singleton="raw"), response_mask)


def rloo_vectorized_outcome_advantage(token_level_rewards: F32, response_mask: F32, index: Labels) -> dict[str, Tensor]:
    return _per_token(adv.leave_one_out(token_level_rewards.sum(1), index), response_mask)


def opo_outcome_advantage(token_level_rewards: F32, response_mask: F32, index: Labels) -> dict[str, Tensor]:
    reward, length = token_level_rewards.sum(1), response_mask.sum(1)
    return _per_token(adv.length_weighted_baseline(reward, index, length, singleton="raw"), response_mask)


def gpg_outcome_advantage(token_level_rewards: F32, response_mask: F32, index: Labels) -> dict[str, Tensor]:
    return _per_token(adv.rare_success_scaled(token_level_rewards.sum(1), index, singleton="raw"), response_mask)


def reinforce_plus_plus_advantage(token_level_rewards: F32, response_mask: F32, gamma: float) -> dict[str, Tensor]:
    returns = adv.discounted_returns(token_level_rewards, response_mask, gamma)
    return {"advantages": adv.masked_whiten(returns, response_mask)[0] * response_mask, "returns": returns}


def reinforce_plus_plus_baseline_advantage(
    token_level_rewards: F32, response_mask: F32, index: Labels
) -> dict[str, Tensor]:
    centred = adv.group_normalize(token_level_rewards.sum(1), index, scale="none", singleton="raw")
    advantage = adv.masked_whiten(centred[:, None] * response_mask, response_mask)[0] * response_mask
    return {"advantages": advantage, "returns": advantage}


def remax_advantage(token_level_rewards: F32, response_mask: F32, reward_baselines: F32) -> dict[str, Tensor]:
    returns = adv.returns_to_go(token_level_rewards, response_mask)
    return {"advantages": returns - reward_baselines[:, None] * response_mask, "returns": returns}


def gae_advantage_return(
    token_level_rewards: F32, values: F32, response_mask: F32, gamma: float, lam: float
) -> dict[str, Tensor]:
    advantage, returns = adv.generalized_advantages(token_level_rewards, values, response_mask, gamma, lam)
    return {"advantages": adv.masked_whiten(advantage, response_mask)[0], "returns": returns}


def optimal_token_baseline_advantage(
    token_level_rewards: F32,
    old_log_probs: F32,
    sum_pi_squared: F32,
    response_mask: F32,
    index: Labels,
    rollout_is_weights: F32,
    handle_zero_tail: bool,
    compact: bool = False,
) -> dict[str, Tensor]:
    advantage, returns = adv.optimal_token_baseline(
        token_level_rewards,
        old_log_probs,
        sum_pi_squared,
        response_mask,
        index,
        ratio_NT=rollout_is_weights,
        zero_tail=handle_zero_tail,
        compact=compact,
    )
    return {"advantages": advantage, "returns": returns}


def tir_optimal_token_baseline_advantage(index: list[str], **inputs: Any) -> dict[str, Tensor]:
    ready = arguments(optimal_token_baseline_advantage, {"index": index, **inputs})
    return optimal_token_baseline_advantage(**ready, compact=True)


def masked_whiten(values: F32, mask: F32, shift_mean: bool) -> dict[str, Tensor]:
    whitened, mean, variance = adv.masked_whiten(values, mask, keep_mean=not shift_mean)
    return {"whitened": whitened, "mean": mean, "var": variance}


# -- policy losses ----------------------------------------------------------------------------------------------------

_AGGREGATION: dict[str, dict[str, Any]] = {
    "token-mean": {"over": "token"},
    "token-sum": {"over": "token", "constant": 1},
    "seq-mean-token-sum": {"constant": 1, "count_empty": False},
    "seq-mean-token-sum-norm": {"count_empty": False},
    "seq-mean-token-mean": {"count_empty": False, "eps": 1e-8},
}


def agg_loss(
    loss_mat: Leaf,
    loss_mask: F32,
    loss_agg_mode: str,
    batch_num_tokens: float | None = None,
    global_batch_size: float | None = None,
    loss_scale_factor: float | None = None,
    dp_size: int = 1,
) -> dict[str, Tensor]:
    totals = batch_num_tokens, global_batch_size, loss_scale_factor
    loss = dp_size * _aggregate(loss_mat, loss_mask, loss_agg_mode, *totals)
    return {"loss": loss, "grad_loss_mat": gradient(loss, loss_mat)}


def _undefined(terms: Tensor, mask: Tensor, mode: str, total: float | None) -> float:
    """Released: an update without actions divides 0 by 0, and a NaN under the mask reaches the sequence modes."""
    empty = not mask.any() and total is None and mode != "token-sum"
    poisoned = mode.startswith("seq") and bool(terms.isnan().any())
    return math.nan if empty or poisoned else 0.0


def _aggregate(
    terms: Tensor,
    mask: Tensor,
    mode: str,
    tokens: float | None = None,
    rows: float | None = None,
    scale: float | None = None,
) -> Tensor:
    options = dict(_AGGREGATION[mode])
    if mode == "token-mean":
        options["constant"] = tokens
    elif mode.startswith("seq"):
        options["total"] = rows
    if mode == "seq-mean-token-sum-norm":
        options["constant"] = scale or terms.shape[1]
    total = tokens if mode.startswith("token") else rows
    return weighted_total(terms, action_weights(mask, **options)) + _undefined(terms, mask, mode, total)


def _answer(terms: Tensor, logp: Tensor, mask: Tensor, mode: str, weights: Tensor | None, **logged: Any) -> Any:
    terms = terms if weights is None else terms * weights
    loss = _aggregate(terms, mask, mode)
    return {"loss": loss, "grad_log_prob": gradient(loss, logp), **logged}


def _shares(log_ratio: Tensor, advantages: Tensor, mask: Tensor, low: float, high: float, cap: float = math.inf) -> Any:
    held = objectives.clipped_actions(log_ratio, advantages, low, high, cap=cap)
    return {"pg_clipfrac": _share(held.low | held.high, mask), "pg_clipfrac_lower": _share(held.cap, mask)}


def _share(where: Tensor, mask: Tensor) -> Tensor:
    return masked_mean(where.float(), mask, eps=1e-8)


def _ppo_kl(log_ratio: Tensor, mask: Tensor) -> dict[str, Tensor]:
    return {"ppo_kl": masked_mean(-log_ratio, mask, eps=1e-8)}


def _range(clip_ratio: float, low: float | None, high: float | None) -> tuple[float, float]:
    return clip_ratio if low is None else low, clip_ratio if high is None else high


_NONE_CLIPPED = {"pg_clipfrac": 0.0, "pg_clipfrac_lower": 0.0}


def policy_loss_vanilla(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    loss_agg_mode: str,
    rollout_is_weights: F32,
    clip_ratio: float,
    clip_ratio_low: float | None,
    clip_ratio_high: float | None,
    clip_ratio_c: float,
) -> Any:
    low, high = _range(clip_ratio, clip_ratio_low, clip_ratio_high)
    ratio = ratios.log_ratio(log_prob, old_log_prob, bound=20)
    terms = objectives.clipped_surrogate(ratio, advantages, low, high, cap=clip_ratio_c)
    shares = _shares(ratio, advantages, response_mask, low, high, clip_ratio_c)
    kl = _ppo_kl(ratio, response_mask)
    return _answer(terms, log_prob, response_mask, loss_agg_mode, rollout_is_weights, **shares, **kl)


def policy_loss_gspo(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    loss_agg_mode: str,
    rollout_is_weights: F32,
    clip_ratio: float,
    clip_ratio_low: float | None,
    clip_ratio_high: float | None,
) -> Any:
    low, high = _range(clip_ratio, clip_ratio_low, clip_ratio_high)
    ratio = ratios.log_ratio(log_prob, old_log_prob, response_mask, "sequence_token").clamp(max=10)
    terms = objectives.clipped_surrogate(ratio, advantages, low, high)
    shares = _shares(ratio, advantages, response_mask, low, high)
    kl = _ppo_kl(log_prob - old_log_prob, response_mask)
    return _answer(terms, log_prob, response_mask, "seq-mean-token-mean", rollout_is_weights, **shares, **kl)


def policy_loss_sapo(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    loss_agg_mode: str,
    rollout_is_weights: F32,
    tau_pos: float,
    tau_neg: float,
) -> Any:
    ratio = ratios.log_ratio(log_prob, old_log_prob, bound=20)
    terms = objectives.soft_gate(ratio, advantages, tau_pos, tau_neg)
    logged = _NONE_CLIPPED | _ppo_kl(ratio, response_mask)
    return _answer(terms, log_prob, response_mask, "seq-mean-token-mean", rollout_is_weights, **logged)


def policy_loss_cispo(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    loss_agg_mode: str,
    rollout_is_weights: F32,
    clip_ratio: float,
    clip_ratio_low: float | None,
    clip_ratio_high: float | None,
) -> Any:
    low, high = _range(clip_ratio, clip_ratio_low, clip_ratio_high)
    ratio = ratios.log_ratio(log_prob, old_log_prob, bound=20)
    weight = objectives.truncated_ratio(ratio, 1 - low, 1 + high)
    terms = objectives.policy_gradient(log_prob, advantages, weight)
    truncated = _share(weight != ratio.exp(), response_mask)
    logged = {"pg_clipfrac": truncated, "pg_clipfrac_lower": 0.0, **_ppo_kl(ratio, response_mask)}
    return _answer(terms, log_prob, response_mask, loss_agg_mode, rollout_is_weights, **logged)


def policy_loss_geo_mean(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    loss_agg_mode: str,
    rollout_is_weights: F32,
    clip_ratio: float,
    clip_ratio_low: float | None,
    clip_ratio_high: float | None,
) -> Any:
    low, high = _range(clip_ratio, clip_ratio_low, clip_ratio_high)
    ratio = ratios.log_ratio(log_prob, old_log_prob)
    terms = objectives.geometric_mean_surrogate(ratio, advantages, response_mask, low, high, eps=1e-8)
    if rollout_is_weights is not None:
        terms = terms * masked_mean((rollout_is_weights + 1e-10).log(), response_mask, dim=1, eps=1e-8)[:, None].exp()
    loss = terms.mean()
    moved = ratio != ratio.clamp(-low, high)
    shares = (_share(moved & side, response_mask) for side in (advantages > 0, advantages < 0))
    logged = dict(zip(("pg_clipfrac", "pg_clipfrac_lower"), shares)) | _ppo_kl(ratio, response_mask)
    return {"loss": loss, "grad_log_prob": gradient(loss, log_prob), **logged}


def policy_loss_gpg(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    loss_agg_mode: str,
    rollout_is_weights: F32,
) -> Any:
    terms = objectives.policy_gradient(log_prob, advantages)
    return _answer(terms, log_prob, response_mask, loss_agg_mode, rollout_is_weights)


def policy_loss_reinforce(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    loss_agg_mode: str,
    rollout_is_weights: F32,
) -> Any:
    terms = objectives.policy_gradient(log_prob, advantages)
    kl = _ppo_kl(log_prob - old_log_prob, response_mask)
    return _answer(terms, log_prob, response_mask, loss_agg_mode, rollout_is_weights, **kl)


def policy_loss_dro(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    loss_agg_mode: str,
    rollout_is_weights: F32,
    dro_beta: float,
) -> Any:
    ratio = ratios.log_ratio(log_prob, old_log_prob)
    terms = objectives.direct_reward(log_prob, ratio, advantages, dro_beta)
    return _answer(terms, log_prob, response_mask, loss_agg_mode, rollout_is_weights, **_ppo_kl(ratio, response_mask))


def policy_loss_dppo_tv(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    loss_agg_mode: str,
    rollout_is_weights: F32,
    clip_ratio: float,
    clip_ratio_low: float | None,
    clip_ratio_high: float | None,
    clip_ratio_c: float,
    divergence: Any = "tv",
) -> Any:
    low, high = _range(clip_ratio, clip_ratio_low, clip_ratio_high)
    ratio = ratios.log_ratio(log_prob, old_log_prob, bound=20)
    keep = objectives.trust_region(log_prob, old_log_prob, advantages, low, high, divergence)
    weight = objectives.truncated_ratio(ratio, upper=clip_ratio_c)
    terms = objectives.policy_gradient(log_prob, advantages, weight * keep)
    over = keep & (ratio.exp() > clip_ratio_c)
    dropped, truncated = (_share(where, response_mask) for where in (~keep, over))
    logged = {"pg_clipfrac": dropped, "pg_clipfrac_lower": truncated, **_ppo_kl(ratio, response_mask)}
    return _answer(terms, log_prob, response_mask, loss_agg_mode, rollout_is_weights, **logged)


def policy_loss_dppo_kl(**inputs: Any) -> Any:
    return policy_loss_dppo_tv(**arguments(policy_loss_dppo_tv, inputs), divergence="kl")


def policy_loss_clip_cov(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: Mask,
    loss_agg_mode: str,
    rollout_is_weights: F32,
    clip_ratio: float,
    clip_ratio_low: float | None,
    clip_ratio_high: float | None,
    clip_cov_ratio: float,
    clip_cov_lb: float,
    clip_cov_ub: float,
) -> Any:
    low, high = _range(clip_ratio, clip_ratio_low, clip_ratio_high)
    ratio = ratios.log_ratio(log_prob, old_log_prob)
    terms = objectives.clipped_surrogate(ratio, advantages, low, high)
    held = objectives.clipped_actions(ratio, advantages, low, high)
    candidates = response_mask & ~held.low & ~held.high
    covariance = objectives.covariance(log_prob, advantages, response_mask)
    bounds, total = (clip_cov_lb, clip_cov_ub), int(response_mask.sum())
    drawn = objectives.drawn_by_covariance(covariance, candidates, clip_cov_ratio, bounds, total)
    logged = {"pg_clipfrac": _share(drawn, response_mask), **_ppo_kl(ratio, response_mask)}
    terms = torch.where(drawn, 0.0, terms)
    return _answer(terms, log_prob, response_mask, loss_agg_mode, rollout_is_weights, **logged)


def policy_loss_kl_cov(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: Mask,
    loss_agg_mode: str,
    rollout_is_weights: F32,
    kl_cov_ratio: float,
    ppo_kl_coef: float,
) -> Any:
    ratio = ratios.log_ratio(log_prob, old_log_prob)
    covariance = objectives.covariance(log_prob, advantages, response_mask)
    picked = objectives.largest_covariance(covariance, response_mask, kl_cov_ratio)
    terms = objectives.unclipped_surrogate(ratio, advantages) + torch.where(picked, ppo_kl_coef * ratio.abs(), 0.0)
    kl = {"ppo_kl": masked_mean(ratio.abs(), response_mask, eps=1e-8)}
    return _answer(terms, log_prob, response_mask, loss_agg_mode, rollout_is_weights, **kl)


def value_loss(
    vpreds: Leaf, values: F32, returns: F32, response_mask: F32, cliprange_value: float, loss_agg_mode: str
) -> Any:
    terms, clipped = objectives.clipped_value_loss(vpreds, values, returns, cliprange_value)
    loss = _aggregate(terms, response_mask, loss_agg_mode)
    return {"loss": loss, "vf_clipfrac": _share(clipped, response_mask), "grad_vpreds": gradient(loss, vpreds)}


def entropy_loss(logits: Leaf, response_mask: F32, loss_agg_mode: str) -> Any:
    loss = _aggregate(probabilities.entropy(logits), response_mask, loss_agg_mode)
    return {"loss": loss, "grad_logits": gradient(loss, logits)}


# -- what enters a policy loss ----------------------------------------------------------------------------------------

_ESTIMATORS: dict[str, divergences.Estimator] = {
    "kl": "k1",
    "k1": "k1",
    "abs": "abs",
    "mse": "k2",
    "k2": "k2",
    "low_var_kl": "k3",
    "k3": "k3",
}


def kl_penalty(logprob: Leaf, ref_logprob: F32, kl_penalty: str) -> dict[str, Tensor]:
    kind = _ESTIMATORS[kl_penalty.removesuffix("+")]
    bounds: Any = {"bound": 20, "clamp": 10} if kind == "k3" else {}
    gradient_of: Any = "k2" if kl_penalty.endswith("+") else "own"
    kl = divergences.kl_estimate(logprob, ref_logprob, kind, gradient=gradient_of, **bounds)
    return {"kl": kl, "grad_sum": gradient(kl.sum(), logprob)}


def logprobs_and_entropy_from_logits(logits: F32, labels: I64) -> dict[str, Tensor]:
    logps = probabilities.selective_log_softmax(logits, labels)
    return {"logprobs": logps, "entropy": probabilities.entropy(logits)}


def response_mask_from_eos(response_id: I64, eos_token: int | list[int]) -> Tensor:
    return probabilities.mask_until(response_id, eos_token).long()


def rollout_is_weights(
    log_ratio: F32,
    response_mask: F32,
    rollout_is: Any,
    rollout_is_threshold: float | str,
    rollout_is_batch_normalize: bool,
) -> Tensor:
    if isinstance(rollout_is_threshold, str) and "_" in rollout_is_threshold:
        low, high = map(float, rollout_is_threshold.split("_"))
        bounds: Any = {"lower": low, "upper": high, "outside": "zero"}
    else:
        bounds = {"upper": float(rollout_is_threshold)}
    normalize = rollout_is_batch_normalize
    weight = corrections.importance_weights(log_ratio, response_mask, rollout_is, normalize=normalize, **bounds)
    return weight * response_mask


def rollout_rejection_mask(
    log_ratio: F32, response_mask: F32, rollout_rs: str, rollout_rs_threshold: float | str
) -> Tensor:
    mask = response_mask.bool()
    names = rollout_rs.split(",")
    bounds = str(rollout_rs_threshold).split(",")
    bounds = bounds * len(names) if len(bounds) == 1 else bounds
    for name, bound in zip(names, bounds):
        over, statistic = name.strip().rsplit("_", 1)
        numbers = [float(part) for part in bound.split("_")]
        low: float | None = None
        high = numbers[-1]
        if statistic == "k1":
            low = torch.tensor(numbers[0] if len(numbers) > 1 else 1 / high).log().item()
            high = torch.tensor(high).log().item()
        where: Any = over.removeprefix("seq_")
        mask = mask & corrections.rejection_mask(log_ratio, response_mask, statistic, where, low, high)  # type: ignore
    return mask.long()


# -- rewards and controllers ------------------------------------------------------------------------------------------


def dapo_overlong_reward(
    scores: F32, valid_response_lengths: F32, max_resp_len: int, overlong_buffer_len: int, penalty_factor: float
) -> Tensor:
    return scores + shaping.soft_overlong(
        valid_response_lengths, max_resp_len, overlong_buffer_len, penalty_factor, floored=False
    )


def token_rewards_with_kl(token_level_scores: F32, old_log_prob: F32, ref_log_prob: F32, kl_ratio: float) -> Tensor:
    return token_level_scores - kl_ratio * divergences.kl_estimate(old_log_prob, ref_log_prob, "k1")


def adaptive_kl_controller(
    init_kl_coef: float, target_kl: float, horizon: float, updates: list[tuple[float, int]]
) -> list[float]:
    values = [init_kl_coef]
    for current, steps in updates:
        values.append(shaping.adapted_coefficient(values[-1], current, target_kl, steps / horizon))
    return values[1:]


# -- rewards of text and length ------------------------------------------------------------------------------------


def geo3k_score(predict_str: str, ground_truth: str, use_boxed: bool, format_score: float) -> float:
    layout = predict_str.startswith("<think>") and tags.in_order(predict_str, ("</think>", r"\\boxed\{", r"\}"))
    given = grading.boxed(predict_str) if use_boxed else predict_str
    return (1 - format_score) * grading.same_answer(given, ground_truth) + format_score * layout


def gsm8k_score(solution_str: str, ground_truth: str, method: str, score: float, format_score: float) -> float:
    given = benchmarks.last_number(solution_str, marked=method == "strict")
    return 0.0 if given is None else score if given == ground_truth else format_score


def hendrycks_math_score(solution_str: str, ground_truth: str) -> float:
    return benchmarks.same_math(benchmarks.math_answer(solution_str), ground_truth)


def normalize_final_answer(final_answer: str) -> str:
    return benchmarks.spelled_minerva(final_answer)


def math_dapo_score(solution_str: str, ground_truth: str, strict_box_verify: bool) -> dict[str, Any]:
    given = None if strict_box_verify else benchmarks.minerva_answer(solution_str)
    right = given == benchmarks.spelled_minerva(ground_truth)
    if given is None:
        given = grading.boxed(solution_str[-100:])
        right = given == ground_truth
        given = given if given or strict_box_verify else "[INVALID]"
    return {"score": 1.0 if right else -1.0, "acc": right, "pred": given}


def search_qa_em_score(solution_str: str, targets: Any, substring: bool, format_score: float) -> float:
    given = tags.tag_text(solution_str, which="last")
    if given is None:
        return 0.0
    if not benchmarks.exact_match(given, targets, inside=substring):
        return format_score
    crowded = max(solution_str.count("<answer>"), solution_str.count("</answer>")) > 10
    return 0.25 if crowded and not substring else 1.0
