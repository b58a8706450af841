"""TRL 1.16, answered by ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F32, I64, Leaf, Mask, arguments, gradient
from gamutrl.functional import advantages as adv
from gamutrl.functional import corrections, divergences, objectives, preference, probabilities, ratios, shaping
from gamutrl.functional.groups import consecutive
from gamutrl.functional.weights import action_weights, masked_mean, weighted_total
from gamutrl.rewards import lengths, maths, repetition, tags

# -- advantages -------------------------------------------------------------------------------------------------------


def grpo_advantages_sum_then_normalize(
    rewards_per_func: F32, reward_weights: F32, num_generations: int, scale_rewards: adv.Scale, **_: Any
) -> Tensor:
    groups = consecutive(len(rewards_per_func), num_generations)
    return adv.group_normalize(adv.weighted_sum(rewards_per_func, reward_weights), groups, scale=scale_rewards)


def grpo_advantages_normalize_then_sum(
    rewards_per_func: F32, reward_weights: F32, num_generations: int, **_: Any
) -> Tensor:
    groups = consecutive(len(rewards_per_func), num_generations)
    return adv.normalize_then_sum(rewards_per_func, groups, reward_weights, whiten=True)


def rloo_advantages(
    rewards_per_func: F32,
    reward_weights: F32,
    num_generations: int,
    beta: float,
    normalize_advantages: bool,
    reward_clip_range: list[float] | None,
    old_per_token_logps: F32 | None = None,
    ref_per_token_logps: F32 | None = None,
    completion_mask: F32 | None = None,
) -> Tensor:
    reward = adv.weighted_sum(rewards_per_func, reward_weights)
    if reward_clip_range is not None:
        reward = reward.clamp(*reward_clip_range)
    if old_per_token_logps is not None and ref_per_token_logps is not None and completion_mask is not None:
        kl = divergences.kl_estimate(old_per_token_logps, ref_per_token_logps, "k1")
        reward = reward - beta * preference.sequence_logp(kl, completion_mask)
    groups = consecutive(len(reward), num_generations)
    return adv.leave_one_out(reward, groups, whiten=normalize_advantages)


# -- policy losses ----------------------------------------------------------------------------------------------------


def _policy_loss(
    terms: Tensor,
    logps: Tensor,
    mask: Tensor,
    kl: Tensor | None = None,
    beta: float = 0.0,
    accumulation: int = 1,
    over: Any = "sequence",
    **weights: Any,
) -> dict[str, Any]:
    weight = action_weights(mask, over, **weights) / accumulation
    terms = terms.expand_as(logps)
    loss = weighted_total(terms if kl is None else terms + beta * kl, weight)
    logged = {} if kl is None else {"kl": masked_mean(kl, mask)}
    return {"loss": loss, "grad_per_token_logps": gradient(loss, logps), **logged}


def _shares(log_ratio: Tensor, advantages: Tensor, mask: Tensor, low: float, high: float) -> dict[str, Tensor]:
    mask = mask if log_ratio.shape == mask.shape else torch.ones_like(log_ratio)
    held = objectives.clipped_actions(log_ratio, advantages[:, None], low, high)
    shares = {"low": held.low, "high": held.high, "region": held.low | held.high}
    return {f"clip_ratio/{name}_mean": masked_mean(where.float(), mask) for name, where in shares.items()}


def _clipped(
    per_token_logps: Tensor,
    old_per_token_logps: Tensor | None,
    mask: Tensor,
    advantages: Tensor,
    epsilon_low: float,
    epsilon_high: float,
    beta: float = 0.0,
    ref_per_token_logps: Tensor | None = None,
    loss_type: str = "grpo",
    level: ratios.Level = "token",
    delta: float | None = None,
    term_weight: Tensor | None = None,
    correct_kl: bool = False,
    gradient_accumulation_steps: int = 1,
    **weights: Any,
) -> dict[str, Any]:
    ratio = ratios.log_ratio(per_token_logps, old_per_token_logps, mask, level)
    terms = objectives.clipped_surrogate(ratio, advantages[:, None], epsilon_low, epsilon_high, cap=delta)
    terms = terms if term_weight is None else terms * term_weight
    kl = _kl(per_token_logps, ref_per_token_logps, beta, ratio if correct_kl else None)
    weights |= _AGGREGATION[loss_type]
    answer = _policy_loss(terms, per_token_logps, mask, kl, beta, gradient_accumulation_steps, **weights)
    return answer | _shares(ratio, advantages, mask, epsilon_low, epsilon_high)


_AGGREGATION: dict[str, dict[str, Any]] = {
    "grpo": {},
    "bnpo": {"over": "token"},
    "dapo": {"over": "token"},
    "dr_grpo": {},
    "luspo": {"constant": 1},
}


def _kl(logps: Tensor, ref_logps: Tensor | None, beta: float, log_ratio: Tensor | None = None) -> Tensor | None:
    if not beta or ref_logps is None:
        return None
    kl = divergences.kl_estimate(logps, ref_logps)
    return kl if log_ratio is None else kl * log_ratio.exp()


def grpo_loss_grpo(
    per_token_logps: Leaf,
    old_per_token_logps: F32,
    mask: F32,
    advantages: F32,
    ref_per_token_logps: F32 | None = None,
    use_bias_correction_kl: bool = False,
    **options: Any,
) -> dict[str, Any]:
    common = (per_token_logps, old_per_token_logps, mask, advantages)
    return _clipped(*common, ref_per_token_logps=ref_per_token_logps, correct_kl=use_bias_correction_kl, **options)


grpo_loss_bnpo = grpo_loss_delta = grpo_loss_grpo


def grpo_loss_sequence_level(importance_sampling_level: ratios.Level, **inputs: Any) -> dict[str, Any]:
    return grpo_loss_grpo(**arguments(grpo_loss_grpo, inputs), level=importance_sampling_level)


def grpo_loss_dr_grpo(max_completion_length: int, **inputs: Any) -> dict[str, Any]:
    return grpo_loss_grpo(**arguments(grpo_loss_grpo, inputs), constant=max_completion_length)


def grpo_loss_dapo(
    num_items_in_batch: float, gradient_accumulation_steps: int = 1, steps_per_generation: int = 1, **inputs: Any
) -> dict[str, Any]:
    items = max(num_items_in_batch, 1) * gradient_accumulation_steps / steps_per_generation
    return grpo_loss_grpo(**arguments(grpo_loss_grpo, inputs), constant=items)


def grpo_loss_vllm_is(importance_sampling_ratio: F32, **inputs: Any) -> dict[str, Any]:
    return grpo_loss_grpo(**arguments(grpo_loss_grpo, inputs), term_weight=importance_sampling_ratio)


def grpo_loss_off_policy_mask(
    off_policy_mask_threshold: float,
    per_token_logps: Leaf,
    old_per_token_logps: F32,
    mask: F32,
    advantages: F32,
    **options: Any,
) -> dict[str, Any]:
    old = per_token_logps if old_per_token_logps is None else old_per_token_logps
    keep = corrections.off_policy_rows(per_token_logps, old, mask, advantages[:, None], off_policy_mask_threshold)
    return _clipped(per_token_logps, old_per_token_logps, mask, advantages, term_weight=keep, **options)


def grpo_loss_top_entropy(entropies: F32, mask: F32, top_entropy_quantile: float, **inputs: Any) -> dict[str, Any]:
    keep = objectives.high_entropy(entropies, mask, 1 - top_entropy_quantile)
    return grpo_loss_grpo(**arguments(grpo_loss_grpo, inputs), mask=mask, term_weight=keep)


def grpo_loss_cispo(
    per_token_logps: Leaf,
    old_per_token_logps: F32,
    mask: F32,
    advantages: F32,
    epsilon_high: float,
    num_items_in_batch: float,
    beta: float = 0.0,
    ref_per_token_logps: F32 | None = None,
    **_: Any,
) -> dict[str, Any]:
    ratio = ratios.log_ratio(per_token_logps, old_per_token_logps)
    weight = objectives.truncated_ratio(ratio, upper=epsilon_high)
    terms = objectives.policy_gradient(per_token_logps, advantages[:, None], weight)
    kl = _kl(per_token_logps, ref_per_token_logps, beta)
    answer = _policy_loss(terms, per_token_logps, mask, kl, beta, over="token", constant=max(num_items_in_batch, 1))
    held = objectives.clipped_actions(ratio, advantages[:, None], high=epsilon_high - 1)
    return answer | {"cispo_clip_ratio": masked_mean(held.high.float(), mask)}


def grpo_loss_sapo(
    per_token_logps: Leaf,
    old_per_token_logps: F32,
    mask: F32,
    advantages: F32,
    sapo_temperature_pos: float,
    sapo_temperature_neg: float,
    importance_sampling_level: ratios.Level = "token",
    **_: Any,
) -> dict[str, Any]:
    ratio = ratios.log_ratio(per_token_logps, old_per_token_logps, mask, importance_sampling_level)
    terms = objectives.soft_gate(ratio, advantages[:, None], sapo_temperature_pos, sapo_temperature_neg)
    return _policy_loss(terms, per_token_logps, mask)


def grpo_loss_vespo(
    per_token_logps: Leaf,
    old_per_token_logps: F32,
    mask: F32,
    advantages: F32,
    num_items_in_batch: float,
    vespo_k_pos: float = 2.0,
    vespo_lambda_pos: float = 3.0,
    vespo_k_neg: float = 3.0,
    vespo_lambda_neg: float = 2.0,
    **_: Any,
) -> dict[str, Any]:
    ratio = ratios.log_ratio(per_token_logps, old_per_token_logps)
    phi = objectives.sequence_reshaping(
        ratio, mask, advantages[:, None], (vespo_k_pos, vespo_lambda_pos), (vespo_k_neg, vespo_lambda_neg)
    )
    terms = objectives.policy_gradient(per_token_logps, advantages[:, None], phi)
    answer = _policy_loss(terms, per_token_logps, mask, over="token", constant=max(num_items_in_batch, 1))
    return answer | {"vespo/phi_seq_mean": phi.mean()}


def gmpo_loss(
    per_token_logps: Leaf,
    old_per_token_logps: F32,
    mask: F32,
    advantages: F32,
    epsilon_low: float,
    epsilon_high: float,
    beta: float = 0.0,
    ref_per_token_logps: F32 | None = None,
    **_: Any,
) -> dict[str, Any]:
    ratio = ratios.log_ratio(per_token_logps, old_per_token_logps)
    loss = objectives.geometric_mean_surrogate(ratio, advantages[:, None], mask, epsilon_low, epsilon_high).mean()
    kl = _kl(per_token_logps, ref_per_token_logps, beta)
    loss = loss if kl is None else loss + beta * weighted_total(kl, action_weights(mask))
    return {"loss": loss, "grad_per_token_logps": gradient(loss, per_token_logps)}


def rloo_loss(
    per_token_logps: Leaf, old_logps: F32, mask: F32, advantages: F32, epsilon_low: float, epsilon_high: float
) -> dict[str, Any]:
    ratio = ratios.log_ratio(preference.sequence_logp(per_token_logps, mask), old_logps)
    loss = objectives.clipped_surrogate(ratio, advantages, epsilon_low, epsilon_high).mean()
    return {"loss": loss, "grad_per_token_logps": gradient(loss, per_token_logps)}


def a2po_loss(
    policy_logps: Leaf, ref_logps: F32, rewards: F32, reference_rewards: F32, beta1: float, beta2: float
) -> dict[str, Any]:
    value = preference.soft_value(reference_rewards, beta1)
    loss = objectives.regression(beta2 * (policy_logps - ref_logps), rewards - value).mean()
    return {"v_star": value, "loss": loss, "grad_policy_logps": gradient(loss, policy_logps)}


# -- what enters a policy loss ----------------------------------------------------------------------------------------


def high_entropy_mask(entropies: F32, mask: F32, threshold: float) -> Tensor:
    return objectives.high_entropy(entropies, mask, threshold)


def entropy_from_logits(logits: F32) -> Tensor:
    return probabilities.entropy(logits)


def selective_log_softmax(logits: F32, index: I64, temperature: float) -> Tensor:
    return probabilities.selective_log_softmax(logits, index, temperature)


def vllm_importance_sampling_ratio(
    old_per_token_logps: F32,
    sampling_per_token_logps: F32,
    mask: F32,
    mode: str,
    clip_min: float | None,
    clip_max: float | None,
) -> Tensor:
    level: Any = mode.split("_")[0]
    drift = (old_per_token_logps - sampling_per_token_logps).nan_to_num(0.0)
    weight = corrections.importance_weights(
        drift,
        mask,
        level,
        lower=clip_min,
        upper=clip_max,
        outside="zero" if mode.endswith("mask") else "clamp",
        bound=None,
    )
    return weight[:, :1] if level == "sequence" else weight


# -- preference losses ------------------------------------------------------------------------------------------------


def _dpo(
    chosen_logps: Leaf,
    rejected_logps: Leaf,
    ref_chosen_logps: F32,
    ref_rejected_logps: F32,
    chosen_mask: F32,
    rejected_mask: F32,
    beta: float,
    loss_types: list[str],
    loss_weights: list[float] = (1.0,),  # type: ignore[assignment]
    label_smoothing: float = 0.0,
    discopop_tau: float = 0.05,
    f_divergence_type: str = "reverse_kl",
    f_alpha_divergence_coef: float = 1.0,
    ld_alpha: float = 1.0,
    log_sum_sq_probs: F32 | None = None,
    use_weighting: bool = False,
) -> dict[str, Any]:
    both = torch.minimum(chosen_mask.sum(1), rejected_mask.sum(1))
    cut: Any = {"shared_length_M": both, "tail": ld_alpha}
    policy_c, policy_r, ref_c, ref_r = (
        preference.sequence_logp(logps, mask, **cut)
        for logps, mask in (
            (chosen_logps, chosen_mask),
            (rejected_logps, rejected_mask),
            (ref_chosen_logps, chosen_mask),
            (ref_rejected_logps, rejected_mask),
        )
    )
    kind: Any = {"js_divergence": "js", "alpha_divergence": "alpha"}.get(f_divergence_type, f_divergence_type)
    c, r = policy_c - ref_c, policy_r - ref_r
    s_c, s_r = (preference.f_divergence_score(ratio, kind, f_alpha_divergence_coef) for ratio in (c, r))
    mean_c, mean_r = (s / m.sum(1).clamp(min=1) for s, m in ((s_c, chosen_mask), (s_r, rejected_mask)))
    smooth: Any = {"smoothing": label_smoothing}
    losses: dict[str, Callable[[], Tensor]] = {
        "sigmoid": lambda: preference.dpo(s_c, s_r, beta),
        "sigmoid_norm": lambda: preference.dpo(mean_c, mean_r, beta),
        "hinge": lambda: preference.hinge(s_c, s_r, beta),
        "ipo": lambda: preference.ipo(mean_c, mean_r, beta),
        "exo_pair": lambda: preference.exo(s_c, s_r, beta, **smooth),
        "nca_pair": lambda: preference.nca(c, r, beta),
        "robust": lambda: preference.robust_dpo(s_c, s_r, beta, **smooth),
        "bco_pair": lambda: preference.bco(c, r, beta),
        "sppo_hard": lambda: preference.sppo(c, r, beta),
        "apo_zero": lambda: preference.apo_zero(c, r, beta),
        "apo_down": lambda: preference.apo_down(c, r, beta),
        "discopop": lambda: preference.discopop(s_c, s_r, beta, tau=discopop_tau),
        "aot": lambda: preference.aot(policy_c - policy_r, ref_c - ref_r, beta, **smooth),
        "aot_unpaired": lambda: preference.aot(c, r, beta, **smooth),
        "sft": lambda: -masked_mean(chosen_logps, chosen_mask)[None],
    }
    weight: Any = 1.0
    if use_weighting:
        squares = log_sum_sq_probs.chunk(2)  # type: ignore[union-attr]
        weight = preference.wpo_weight(chosen_logps, squares[0], chosen_mask)
        weight = weight * preference.wpo_weight(rejected_logps, squares[1], rejected_mask)
    loss = torch.stack([w * (weight * losses[name]()).mean() for w, name in zip(loss_weights, loss_types)]).sum()
    return {
        "loss": loss,
        "grad_chosen_logps": gradient(loss, chosen_logps),
        "grad_rejected_logps": gradient(loss, rejected_logps),
        "rewards/margins": (beta * (c - r)).mean(),
        "rewards/accuracies": (c > r).float().mean(),
    }


dpo_loss_aot = dpo_loss_aot_unpaired = dpo_loss_apo_down = dpo_loss_apo_zero = dpo_loss_bco_pair = _dpo
dpo_loss_discopop = dpo_loss_exo_pair = dpo_loss_f_divergence = dpo_loss_hinge = dpo_loss_ipo = dpo_loss_ld = _dpo
dpo_loss_mpo_mix = dpo_loss_nca_pair = dpo_loss_robust = dpo_loss_sft = dpo_loss_sigmoid = _dpo
dpo_loss_sigmoid_norm = dpo_loss_sppo_hard = dpo_loss_wpo = _dpo


def cpo_simpo_loss(
    chosen_logps: Leaf,
    rejected_logps: Leaf,
    beta: float,
    loss_type: str,
    label_smoothing: float,
    simpo_gamma: float,
    alpha: float,
) -> dict[str, Any]:
    c, r = (preference.power_score(logps, alpha) for logps in (chosen_logps, rejected_logps))
    losses = {
        "simpo": lambda: preference.dpo(c, r, beta, smoothing=label_smoothing, margin=simpo_gamma),
        "sigmoid": lambda: preference.dpo(c, r, beta, smoothing=label_smoothing),
        "hinge": lambda: preference.hinge(c, r, beta),
        "ipo": lambda: preference.ipo(c, r, beta),
    }[loss_type]()
    return _pair_answer(losses, chosen_logps, rejected_logps)


def orpo_odds_ratio_loss(chosen_logps: Leaf, rejected_logps: Leaf, beta: float) -> dict[str, Any]:
    odds = preference.log_odds_ratio(chosen_logps, rejected_logps)
    agree = -preference.dpo(odds, torch.zeros_like(odds), 1.0)
    answer = _pair_answer(beta * agree, chosen_logps, rejected_logps)
    return answer | {"mean_ratio": agree.mean(), "mean_log_odds": odds.mean()}


def _pair_answer(losses: Tensor, chosen: Tensor, rejected: Tensor) -> dict[str, Any]:
    total = losses.sum()
    return {"losses": losses, "grad_chosen": gradient(total, chosen), "grad_rejected": gradient(total, rejected)}


def kto_loss(
    logps: Leaf,
    ref_logps: F32,
    label: Mask,
    kl_logps: F32,
    ref_kl_logps: F32,
    beta: float,
    loss_type: str,
    desirable_weight: float,
    undesirable_weight: float,
) -> dict[str, Any]:
    kl = (kl_logps - ref_kl_logps).mean().clamp(min=0) if loss_type == "kto" else torch.tensor(0.0)
    weights = {"desirable_weight": desirable_weight, "undesirable_weight": undesirable_weight}
    loss = preference.kto(logps - ref_logps, label, kl, beta, **weights).nanmean()
    return {"loss": loss, "grad_logps": gradient(loss, logps), "kl": kl}


def reward_model_loss(
    rewards_chosen: Leaf, rewards_rejected: Leaf, margin: F32, center_rewards_coefficient: float | None
) -> dict[str, Any]:
    margin = 0.0 if margin is None else margin
    centre = center_rewards_coefficient or 0.0
    loss = preference.bradley_terry(rewards_chosen, rewards_rejected, margin, centre=centre).mean()
    return {
        "loss": loss,
        "grad_chosen": gradient(loss, rewards_chosen),
        "grad_rejected": gradient(loss, rewards_rejected),
        "accuracy": (rewards_chosen > rewards_rejected).float().mean(),
        "margin": (rewards_chosen - rewards_rejected).mean(),
    }


def generalized_jsd_loss(
    student_logits: Leaf, teacher_logits: F32, labels: I64, beta: float, temperature: float
) -> dict[str, Any]:
    student, teacher = ((logits / temperature).log_softmax(-1) for logits in (student_logits, teacher_logits))
    loss = masked_mean(divergences.jensen_shannon(student, teacher, beta), labels != -100)
    return {"loss": loss, "grad_student_logits": gradient(loss, student_logits)}


# -- rewards of text and length ------------------------------------------------------------------------------------

_BOXED_FIRST = maths.Reading(kinds=("latex",), unanchored=False, boxed_priority=0, first_match=True)


def _verified(completion: str, solution: str) -> float | None:
    same = maths.math_equal(completion, solution, read=_BOXED_FIRST, read_gold=maths.Reading())
    return None if same is None else float(same)


def accuracy_reward(completions: list[str], solution: list[str]) -> list[float | None]:
    return [_verified(*pair) for pair in zip(completions, solution)]


def reasoning_accuracy_reward(
    completions: list[str], solution: list[str], reasoning_delimiters: tuple[str, ...] = ("</think>",)
) -> list[float | None]:
    def after_thought(completion: str) -> str | None:
        marks = [mark for mark in reasoning_delimiters if mark in completion]
        return completion.rpartition(marks[0])[2] if marks else None

    texts = [after_thought(completion) for completion in completions]
    return [0.0 if text is None else _verified(text, gold) for text, gold in zip(texts, solution)]


def cosine_scaled_reward(
    completions: list[str],
    solution: list[str],
    completion_lengths: list[int],
    max_len: int,
    min_value_correct: float = 0.5,
    max_value_correct: float = 1.0,
    min_value_wrong: float = -1.0,
    max_value_wrong: float = -0.5,
) -> list[float | None]:
    values: Any = {
        "longest": max_len,
        "when_right": (max_value_correct, min_value_correct),
        "when_wrong": (min_value_wrong, max_value_wrong),
    }
    right = accuracy_reward(completions, solution)
    return [
        None if ok is None else lengths.cosine_length(length, bool(ok), **values)
        for length, ok in zip(completion_lengths, right)
    ]


def repetition_penalty_reward(completion_ids: list[list[int]], ngram_size: int, max_penalty: float) -> list[float]:
    return [max_penalty * repetition.repeated_share(repetition.runs(ids, ngram_size)) for ids in completion_ids]


def soft_overlong_punishment(lengths: F32, max_completion_len: int, soft_punish_cache: int) -> Tensor:
    return shaping.soft_overlong(lengths, max_completion_len, soft_punish_cache)


def think_format_reward(completions: list[str]) -> list[float]:
    return [tags.tag_format(text, ("think",), after=True) * (text.count("<think>") == 1) for text in completions]
