"""MixGRPO's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, tensor
from gamutrl.functional import advantages as adv
from gamutrl.functional import sampling, windows
from gamutrl.functional.groups import consecutive
from gamutrl.rewards import combine, judging


def dance_grpo_step(
    steps: int,
    shift: float,
    index: int,
    eta: float,
    grpo: bool,
    sde_solver: bool,
    latents: F32,
    model_output: F32,
    noise: F32 | None = None,
    prev_sample: F32 | None = None,
) -> dict[str, Any]:
    answer = compose.dance_step(
        steps,
        shift,
        index,
        eta,
        grpo,
        sde_solver,
        latents,
        model_output,
        noise,
        prev_sample,
        "exponent",
        noisy=sde_solver,
    )
    return {name: value for name, value in answer.items() if not name.startswith("sigma")}


def flow_grpo_step(
    steps: int,
    shift: float,
    index: int,
    eta: float,
    deterministic: bool,
    latents: F32,
    model_output: F32,
    noise: F32 | None = None,
    prev_sample: F32 | None = None,
) -> dict[str, Any]:
    sigmas = sampling.shifted_sigmas(steps, shift)
    sigma, sigma_next = sigmas[index], sigmas[index + 1]
    step = sampling.flow_sde(latents, model_output, sigma, sigma_next, eta, sigma_one=sigmas[1])
    if prev_sample is None and deterministic:
        prev_sample = sampling.flow_sde(latents, model_output, sigma, sigma_next, 0.0).mean
    prev_sample = compose.drawn(step, noise, prev_sample)
    return {
        "prev_sample": prev_sample,
        "pred_original_sample": step.clean,
        "log_prob": sampling.gaussian_logp(prev_sample, step.mean, step.std),
        "prev_sample_mean": step.mean,
        "std": step.std,
        "sigma": sigma,
        "sigma_next": sigma_next,
    }


def dpm_solver_step(
    steps: int,
    shift: float,
    start_index: int,
    algorithm: str,
    order: int,
    solver_type: str,
    sde: list[bool],
    latents: F32,
    model_outputs: F32,
    noises: F32,
) -> list[dict[str, Tensor]]:
    return compose.dpm_steps(
        steps, shift, start_index, algorithm, order, solver_type, sde, latents, model_outputs, noises
    )


def multi_reward_advantage(
    mix: str, rewards: Any, num_generations: int, trimmed_ratio: float, weights: dict[str, float] | None = None
) -> Tensor:
    options: Any = {"eps": 1e-8, "trim": trimmed_ratio, "singleton": "nan"}
    if mix == "reward_aggr":
        return compose.grouped(tensor(rewards, torch.float64), num_generations, **options)
    weights = weights or dict.fromkeys(rewards, 1.0)
    table = torch.stack([tensor(rewards[name], torch.float64) for name in weights], 1)
    groups = consecutive(len(table), num_generations)
    return adv.normalize_then_sum(table, groups, torch.tensor(list(weights.values()), dtype=torch.float64), **options)


def flash_post_schedule(steps: int, shift: float, window: list[int], ratio: float) -> dict[str, Any]:
    levels, post = windows.regridded(steps, window[-1], ratio)
    return {
        "sigma_schedule": sampling.shift_time(levels, shift),
        "num_steps": len(levels) - 1,
        "num_post_steps": post,
    }


def unified_reward_parser(text: str) -> dict[str, float | None]:
    labels = {"alignment": "Alignment Score (1-5):", "final": "Final Score:"}
    return {name: judging.labelled_score(text, label, "0-5") for name, label in labels.items()}


KNOWN = ("HPSClipRewardModel", "PickScoreRewardModel", "ImageRewardModel", "CLIPScoreRewardModel", "UnifiedRewardModel")


def compute_reward_merge(n: int, models: dict[str, Any], weights: dict[str, float]) -> dict[str, Any]:
    scores: dict[str, list[float | None]] = {}
    for name, said in models.items():
        values, sure = (said["rewards"], said["success"]) if isinstance(said, dict) else (said, [True] * n)
        usable = name in KNOWN and isinstance(values, list) and len(values) == n
        scores[name] = [value if ok else None for value, ok in zip(values, sure)] if usable else [None] * n
    merged = combine.all_or_nothing({name: scores[name] for name in weights if name in scores}, weights)
    return {
        "merged_rewards": [total or 0.0 for total in merged],
        "merged_successes": [int(total is not None) for total in merged],
        "rewards": {name: [value or 0.0 for value in values] for name, values in scores.items()},
        "successes": {name: [int(value is not None) for value in values] for name, values in scores.items()},
    }


def sliding_window(params: dict[str, Any], iterations: int, seed0: int = 0) -> dict[str, Any]:
    size, steps, pace = params["group_size"], params["max_timesteps"], params["iters_per_group"]
    strategy = params["sample_strategy"]
    if strategy == "random":
        firsts = [0, *(int(np.random.default_rng(seed0 + k).integers(0, steps - size + 1)) for k in range(iterations))]
        return {"windows": [list(range(first, first + size)) for first in firsts[:iterations]], "complete": False}
    patience = {
        "decay": partial(
            windows.decaying_patience,
            steps=steps,
            most=params["max_iters_per_group"],
            least=params["min_iters_per_group"],
        ),
        "exp_decay": partial(windows.late_patience, pace=pace),
    }.get(strategy, lambda first: pace)
    stride = params["prog_overlap_step"] if params["prog_overlap"] else size
    slides = windows.sliding_windows(size, steps, stride, patience, wrap=params["roll_back"])
    seen = [list(window) for window in islice(slides, iterations)]
    return {"windows": seen, "complete": not params["roll_back"] and not seen[-1]}
