"""DDPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, I64, Leaf64, gradient, tensor
from gamutrl.functional import advantages as adv
from gamutrl.functional import (
    divergences,
    ratios,
    sampling,
)
from gamutrl.rewards import pictures


def ddim_step_with_logprob(
    scheduler: dict[str, Any],
    eta: float,
    timestep: I64,
    sample: F32,
    model_output: F32,
    noise: F32 | None = None,
    prev_sample: F32 | None = None,
) -> dict[str, Tensor]:
    alpha, alpha_next = compose.ddim_levels(scheduler, timestep, clamped=True)
    step = compose.ddim_step(scheduler, sample, model_output, alpha, alpha_next, eta)
    prev_sample = compose.drawn(step, noise, prev_sample)
    return {
        "prev_sample": prev_sample,
        "log_prob": sampling.gaussian_logp(prev_sample, step.mean, step.std),
        "alpha_prod_t": alpha,
        "alpha_prod_t_prev": alpha_next,
        "std_dev_t": step.std,
    }


def ppo_clip_loss(
    log_prob: Leaf64, old_log_prob: F64, advantages: F64, clip_range: float, adv_clip_max: float
) -> dict[str, Tensor]:
    loss = compose.step_terms(log_prob, old_log_prob, advantages, adv_clip_max, clip_range).mean()
    ratio = ratios.log_ratio(log_prob, old_log_prob)
    return {
        "loss": loss,
        "approx_kl": divergences.kl_estimate(log_prob, old_log_prob, "k2").mean(),
        "clipfrac": ((ratio.exp() - 1).abs() > clip_range).double().mean(),
        "grad_log_prob": gradient(loss, log_prob),
    }


def rwr_softmax_weights(rewards: F64, temperature: float) -> Tensor:
    return adv.softmax_weights(rewards, torch.zeros(len(rewards)), 1 / temperature)


def jpeg_reward(pattern: str, value: float, hw: list[int], seed: int) -> dict[str, float]:
    rows, columns = torch.arange(hw[0])[:, None], torch.arange(hw[1])[None]
    image = {
        "constant": torch.full(hw, value),
        "gradient": torch.linspace(0, 1, hw[1]).expand(hw),
        "checker": ((rows + columns) % 2).float(),
    }[pattern]
    size = pictures.jpeg_kilobytes(image.expand(3, *hw))
    return {"incompressibility": size, "compressibility": -size}


def strict_vqa_satisfaction(answers: list[list[str]], outputs: list[list[str]]) -> list[float]:
    return [sum(a in o for a, o in zip(wanted, said)) / len(wanted) for wanted, said in zip(answers, outputs)]


def per_prompt_stat_tracker(buffer_size: int, min_count: int, updates: list[dict[str, Any]]) -> dict[str, Any]:
    answers: list[Tensor] = []
    past: dict[Any, Tensor] = {}
    for update in updates:
        whole = update.get("dtype") == "int64"
        rewards = tensor(update["rewards"], torch.float64)
        advantage, past = adv.against_past(rewards, update["prompts"], past, size=buffer_size, at_least=min_count)
        answers.append(advantage.long() if whole else advantage)  # Released: whole rewards make whole advantages.
    stats = {
        prompt: {"mean": kept.mean(), "std": kept.std(unbiased=False), "count": len(kept)}
        for prompt, kept in past.items()
    }
    return {"advantages": answers, "stats": stats}
