"""verl-omni, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F32, I64, Labels, Leaf, gradient
from gamutrl.functional import advantages as adv
from gamutrl.functional import denoising, divergences, objectives, preference, ratios, sampling, windows
from gamutrl.functional.groups import group_index
from gamutrl.rewards import benchmarks, maths, ocr, tags
from gamutrl.rewards.parsing import loads

# -- samplers ---------------------------------------------------------------------------------------------------------


def flow_match_sde_step(
    model_output: Leaf,
    sample: F32,
    noise: F32,
    num_steps: int,
    step_index: int,
    shift: float,
    noise_level: float,
    sde_type: str,
    include_logprob_normalizer: bool,
) -> dict[str, Any]:
    kind: Any = {"sde": "flow", "cps": "preserving", "dance_sde": "constant"}[sde_type]
    sigmas = sampling.shifted_sigmas(num_steps, shift)
    sigma, sigma_next = sigmas[step_index], sigmas[step_index + 1]
    step = sampling.flow_sde(sample, model_output, sigma, sigma_next, noise_level, kind, sigma_one=sigmas[1])
    prev = step.draw(noise).detach()
    form: Any = "square" if sde_type == "cps" else "density" if include_logprob_normalizer else "exponent"
    logp = sampling.gaussian_logp(prev, step.mean, step.std, form)
    sqrt_dt = (sigma - sigma_next).sqrt()
    return {
        "sigma": sigma,
        "sigma_next": sigma_next,
        "prev_sample": prev,
        "prev_sample_mean": step.mean,
        "log_prob": logp,
        "std_dev_t": step.std / sqrt_dt if sde_type == "sde" else step.std,
        "sqrt_dt": sqrt_dt.expand(len(sample)),
        "grad_model_output": gradient(logp.sum(), model_output),
    }


def mix_grpo_window(
    global_steps: int,
    iters_per_group: int,
    sample_strategy: str,
    sde_window_range: tuple[int, int],
    sde_window_size: int,
    sde_window_seed: int,
) -> list[int]:
    low, high = sde_window_range
    if sample_strategy == "random":
        window = windows.seeded_window(sde_window_seed + global_steps, low, high, sde_window_size)
    else:
        window = windows.progressive_window(
            global_steps, high, sde_window_size, pace=iters_per_group, start=low, partial=True
        )
    return [window.start, window.stop]


def online_dpo_pairs(scores: F32, uids: Labels) -> list[int]:
    index_R, groups = group_index(uids)
    pairs: list[int] = []
    for group in range(groups):
        members = (index_R == group).nonzero().flatten()
        if len(members) > 1:
            order = members[scores[members].argsort(descending=True, stable=True)]
            pairs += [int(order[0]), int(order[-1])]
    return pairs


# -- advantages -------------------------------------------------------------------------------------------------------


def flow_grpo_advantage(rewards: F32, index: Labels, global_std: bool, norm_adv_by_std_in_grpo: bool) -> Tensor:
    scale: adv.Scale = "none" if not norm_adv_by_std_in_grpo else "batch" if global_std else "group"
    return adv.group_normalize(rewards, index, scale=scale)


nft_group_advantage = flow_grpo_advantage


def nft_reward_prob(advantages: F32, adv_clip_max: float, adv_mode: str) -> Tensor:
    return denoising.optimality(advantages, adv_clip_max, adv_mode.removesuffix("_only"))  # type: ignore[arg-type]


# -- policy losses ----------------------------------------------------------------------------------------------------


def _answer(terms: Tensor, log_prob: Tensor, weights: Tensor | None, **logged: Any) -> dict[str, Any]:
    loss = (terms if weights is None else terms * weights).mean()
    return {"loss": loss, "grad_log_prob": gradient(loss, log_prob), **logged}


def _ratio_log(ratio: Tensor, clip: float) -> dict[str, Tensor]:
    above, below = ratio - 1 > clip, 1 - ratio > clip
    return {
        "pg_clipfrac": ((ratio - 1).abs() > clip).float().mean(),
        "pg_clipfrac_higher": above.float().mean(),
        "pg_clipfrac_lower": below.float().mean(),
        "ratio_mean": ratio.mean(),
        "ratio_std": ratio.std(),
    }


def flow_grpo_loss(
    log_prob: Leaf, old_log_prob: F32, advantages: F32, adv_clip_max: float, clip_ratio: float, rollout_is_weights: F32
) -> dict[str, Any]:
    advantages = advantages.clamp(-adv_clip_max, adv_clip_max)
    ratio = ratios.log_ratio(log_prob, old_log_prob)
    terms = objectives.clipped_surrogate(ratio, advantages, clip_ratio)
    logged = _ratio_log(ratio.exp(), clip_ratio) | {"ppo_kl": -ratio.mean()}
    return _answer(terms, log_prob, rollout_is_weights, **logged)


def grpo_guard_loss(
    log_prob: Leaf,
    old_log_prob: F32,
    prev_sample_mean: Leaf,
    old_prev_sample_mean: F32,
    std_dev_t: F32,
    sqrt_dt: F32,
    advantages: F32,
    adv_clip_max: float,
    clip_ratio: float,
    rollout_is_weights: F32,
) -> dict[str, Any]:
    advantages = advantages.clamp(-adv_clip_max, adv_clip_max)
    plain = ratios.log_ratio(log_prob, old_log_prob)
    std = sqrt_dt.mean() * std_dev_t.mean()
    ratio = ratios.normalized_log_ratio(plain, prev_sample_mean, old_prev_sample_mean, std)
    terms = objectives.clipped_surrogate(ratio, advantages, clip_ratio) / sqrt_dt.mean().square()
    logged = _ratio_log(ratio.exp(), clip_ratio) | {"ppo_kl": -plain.mean()}
    answer = _answer(terms, log_prob, rollout_is_weights, **logged)
    return answer | {"grad_prev_sample_mean": gradient(answer["loss"], prev_sample_mean)}


def flow_dppo_loss(
    log_prob: Leaf,
    old_log_prob: F32,
    prev_sample_mean: F32,
    old_prev_sample_mean: F32,
    std_dev_t: F32,
    sqrt_dt: F32,
    advantages: F32,
    add_kl_coefficient: bool,
    kl_mask_threshold: float,
    rollout_is_weights: F32,
) -> dict[str, Any]:
    log_ratio = ratios.log_ratio(log_prob, old_log_prob)
    std = std_dev_t * sqrt_dt if add_kl_coefficient else 1.0
    kl = divergences.gaussian_kl(prev_sample_mean, old_prev_sample_mean, std)
    far = kl >= kl_mask_threshold
    held = far & objectives.outward(log_ratio, advantages)
    terms = torch.where(held, 0.0, objectives.unclipped_surrogate(log_ratio, advantages))
    ratio = log_ratio.exp()
    logged = {
        "ppo_kl": -log_ratio.mean(),
        "approx_kl": divergences.kl_estimate(log_prob, old_log_prob, "k2").mean(),
        "ratio_mean": ratio.mean(),
        "ratio_std": ratio.std(unbiased=False),
        "ratio_min": ratio.min(),
        "ratio_max": ratio.max(),
        "kl_new_old_mean": kl.mean(),
        "kl_new_old_max": kl.max(),
        "kl_mask_fraction": far.float().mean(),
        "pos_rm_fraction": (held & (advantages > 0)).float().mean(),
        "neg_rm_fraction": (held & (advantages < 0)).float().mean(),
        "masked_fraction": held.float().mean(),
        "unmasked_fraction": (~held).float().mean(),
    }
    return _answer(terms, log_prob, rollout_is_weights, **logged)


def diffusion_kl_loss(prev_sample_mean: Leaf, ref_prev_sample_mean: F32, std_dev_t: F32) -> dict[str, Tensor]:
    loss = divergences.gaussian_kl(prev_sample_mean, ref_prev_sample_mean, std_dev_t).mean()
    return {"loss": loss, "grad": gradient(loss, prev_sample_mean)}


def diffusion_nft_loss(
    forward_prediction: Leaf,
    old_prediction: F32,
    ref_forward_prediction: F32,
    x0: F32,
    xt: F32,
    t: F32,
    reward_prob: F32,
    mix_beta: float,
    adv_clip_max: float,
    adaptive_weight_min: float,
    ref_kl_coef: float,
) -> dict[str, Tensor]:
    contrast = denoising.negative_aware(
        forward_prediction, old_prediction, xt, x0, t, reward_prob, mix_beta, least_weight=adaptive_weight_min
    )
    policy_loss = adv_clip_max * contrast.loss.mean()
    kl = divergences.mean_square(forward_prediction, ref_forward_prediction).mean()
    loss = policy_loss + ref_kl_coef * kl
    return {
        "loss": loss,
        "grad_forward_prediction": gradient(loss, forward_prediction),
        "policy_loss": policy_loss,
        "positive_loss": contrast.positive.mean(),
        "negative_loss": contrast.negative.mean(),
        "ref_kl_loss": kl,
        "old_deviate": divergences.mean_square(forward_prediction, old_prediction).mean(),
        "reward_prob_mean": reward_prob.mean(),
    }


# -- preference losses ------------------------------------------------------------------------------------------------


def diffusion_dpo_loss(
    model_noise_pred: Leaf,
    ref_noise_pred: F32,
    noise: F32,
    latent: F32,
    dpo_beta: float,
    sample_level_rewards: list[float],
) -> dict[str, Tensor]:
    target = noise - latent
    policy, reference = (
        denoising.denoising_score(prediction, target, dpo_beta) for prediction in (model_noise_pred, ref_noise_pred)
    )
    gain = policy - reference
    chosen, rejected = gain[0::2], gain[1::2]
    loss = preference.dpo(chosen, rejected, 1.0).mean()
    return {
        "loss": loss,
        "grad_model_noise_pred": gradient(loss, model_noise_pred),
        "dpo_loss": loss,
        "implicit_acc": (chosen > rejected).float().mean(),
        "chosen": chosen.mean(),
        "rejected": rejected.mean(),
        "margins": (chosen - rejected).mean(),
    }


def omni_dpo_loss(
    log_probs: Leaf,
    ref_log_prob: F32,
    labels: I64,
    beta: float,
    label_smoothing: float,
    loss_type: str,
    average_log_prob: bool,
) -> dict[str, Tensor]:
    mask = labels[:, 1:] != -100
    width = mask.shape[1]
    policy, reference = (
        preference.sequence_logp(logps[:, :width], mask, average=average_log_prob)
        for logps in (log_probs, ref_log_prob)
    )
    gain = policy - reference
    chosen, rejected = gain[0::2], gain[1::2]
    if loss_type == "ipo":
        loss = preference.ipo(chosen, rejected, beta).mean()
    else:
        loss = preference.dpo(chosen, rejected, beta, smoothing=label_smoothing).mean()
    return {
        "loss": loss,
        "grad_log_probs": gradient(loss, log_probs),
        "chosen_rewards": beta * chosen.mean(),
        "rejected_rewards": beta * rejected.mean(),
        "reward_accuracy": (chosen > rejected).float().mean(),
        "reward_margin": beta * (chosen - rejected).mean(),
    }


# -- rewards of text and length ------------------------------------------------------------------------------------


def choice_score(solution_str: str, ground_truth: str) -> dict[str, float]:
    given, truth = (tags.tag_text(text, missing="empty") for text in (solution_str, ground_truth))
    return {"score": float(given == truth), "accuracy": float(given == truth)}


def ocr_levenshtein_score(text: str, ground_truth: str) -> float:
    text, ground_truth = ("".join(part.split()) for part in (text, ground_truth))
    return ocr.rendered_text([(text, 1.0)], ground_truth) if ground_truth else float(not text)


def mmk12_score(solution_str: str, ground_truth: str, options: str | None, format_score: float) -> dict[str, float]:
    solution_str, ground_truth = (benchmarks.without_degrees(text) for text in (solution_str, ground_truth))
    content = tags.tag_text(solution_str, missing="whole")

    def verified(truth: str) -> float:
        either = maths.Reading(kinds=("expr", "latex"))
        boxed = f"\\boxed{{{truth}}}"
        return float(bool(maths.math_equal(content, boxed, read=either, read_gold=maths.Reading(kinds=("latex",)))))

    if len(ground_truth) == 1 and ground_truth in "ABCDE":
        letter = benchmarks.last_letter(content)
        choices = loads(options or "")
        accuracy = float(letter == ground_truth) if letter else 0.0
        if letter is None and isinstance(choices, dict) and ground_truth in choices:
            accuracy = 0.5 * verified(str(choices[ground_truth]))
    else:
        accuracy = verified(ground_truth)
    layout = format_score * benchmarks.only_tag_around(solution_str, "\\boxed{")
    return {"score": (accuracy + layout) / (1 + format_score), "format_reward": layout, "accuracy": accuracy}
