"""Flow-GRPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, I64, Labels, Leaf64, gradient
from gamutrl.functional import advantages as adv
from gamutrl.functional import divergences
from gamutrl.functional.groups import group_variance
from gamutrl.rewards import judging, ocr, tags


def per_prompt_advantage(rewards: F64, prompts: Labels, type: str, global_std: bool) -> Tensor:
    return compose.sample_weights(rewards, prompts, type, global_std)


def sde_step_with_logprob(
    sigmas: F32,
    step_index: I64,
    noise_level: float,
    sample: F32,
    model_output: F32,
    noise: F32 | None = None,
    prev_sample: F32 | None = None,
) -> dict[str, Tensor]:
    answer = compose.flow_step(sigmas, step_index, noise_level, sample, model_output, noise, prev_sample)
    return {name: answer[name] for name in ("prev_sample", "log_prob", "prev_sample_mean", "std_dev_t")}


def grpo_kl_loss(
    log_prob: Leaf64,
    old_log_prob: F64,
    advantages: F64,
    adv_clip_max: float,
    clip_range: float,
    beta: float,
    prev_sample_mean: Leaf64,
    prev_sample_mean_ref: F64,
    std_dev_t: F64,
) -> dict[str, Any]:
    policy = compose.step_terms(log_prob, old_log_prob, advantages, adv_clip_max, clip_range).mean()
    kl = divergences.gaussian_kl(prev_sample_mean, prev_sample_mean_ref, std_dev_t).mean()
    loss = policy + beta * kl if beta > 0 else policy
    return {
        "loss": loss,
        "policy_loss": policy,
        "kl_loss": kl if beta > 0 else 0.0,
        "grad_log_prob": gradient(loss, log_prob),
        "grad_prev_sample_mean": gradient(loss, prev_sample_mean),
    }


def multi_score(
    weights: dict[str, float],
    scores: dict[str, list[float]],
    rewards: list[float] | None = None,
    strict: list[float] | None = None,
) -> dict[str, Any]:
    table = torch.tensor([scores[name] for name in weights], dtype=torch.float64).T
    total = adv.weighted_sum(table, torch.tensor(list(weights.values()), dtype=torch.float64))
    more = {} if rewards is None else {"accuracy": rewards, "strict_accuracy": strict}
    return {**scores, **more, "avg": total}


def ocr_reward(prompts: list[str], ocr_results: list[Any]) -> list[float]:
    targets = [ocr.quoted(prompt) for prompt in prompts]
    read = [None if result == "ERROR" else result for result in ocr_results]
    return [ocr.rendered_text(lines, target) for lines, target in zip(read, targets)]


def qwenvl_score_parser(texts: list[str]) -> list[float]:
    inside = [tags.tag_text(text, "Score", missing="empty", strip=False) for text in texts]
    return [int(score) / 5 if score.isdecimal() else 0.0 for score in inside]


def unifiedreward_score_parser(texts: list[str]) -> list[float]:
    return [(judging.labelled_score(text, "Final Score:", "1-5") or 0.0) / 5 for text in texts]


def zero_std_ratio(prompts: Labels, rewards: F64) -> list[Tensor]:
    first = torch.tensor([int((prompts == label).nonzero()[0]) for label in prompts.unique()])
    deviation = group_variance(rewards, prompts, unbiased=False)[first].sqrt()
    return [(deviation == 0).double().mean(), deviation.mean()]
