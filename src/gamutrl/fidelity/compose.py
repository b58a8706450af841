"""The one composition that most bindings share: a whole GRPO update, from log-probabilities to one number."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import gradient
from gamutrl.functional import advantages, denoising, divergences, objectives, ratios, sampling, selection
from gamutrl.functional.groups import consecutive
from gamutrl.functional.weights import action_weights, masked_mean, weighted_total
from gamutrl.rewards.groups import beats_auxiliary_bonus, length_window_bonus


def grouped(reward_R: Tensor, size: int, **options: Any) -> Tensor:
    """Advantages of consecutive groups of `size`."""
    return advantages.group_normalize(reward_R, consecutive(len(reward_R), size), **options)


def grpo_loss(
    logp_NT: Tensor,
    advantage_N: Tensor,
    mask_NT: Tensor,
    *,
    old: Tensor | None = None,
    ref: Tensor | None = None,
    beta: float = 0.0,
    low: float = 0.2,
    high: float | None = None,
    cap: float | None = None,
    bound: float | None = None,
    kl: dict[str, Any] | None = None,
    **weights: Any,
) -> Tensor:
    """Clipped surrogate, plus beta · k3 against the reference, by the aggregation that `weights` names."""
    advantage_NT = advantage_N[:, None] if advantage_N.dim() == 1 else advantage_N
    ratio = ratios.log_ratio(logp_NT, old, bound=bound)
    terms = objectives.clipped_surrogate(ratio, advantage_NT, low, high, cap=cap)
    if beta and ref is not None:
        terms = terms + beta * divergences.kl_estimate(logp_NT, ref, **(kl or {}))
    return weighted_total(terms, action_weights(mask_NT, **weights))


def outcome(reward_R: Tensor, group_R: Tensor, mask_NT: Tensor | None = None, **options: Any) -> Tensor:
    """verl's outcome advantage: 1e-6 added to the deviation, a group of one keeps its reward; times a mask if given."""
    advantage_R = advantages.group_normalize(reward_R, group_R, eps=1e-6, singleton="raw", **options)
    return advantage_R if mask_NT is None else advantage_R[:, None] * mask_NT


def verl_loss(
    logp: Tensor,
    old: Tensor,
    advantage: Tensor,
    mask: Tensor,
    low: float = 0.2,
    high: float | None = None,
    cap: float | None = None,
    *,
    mode: str = "token-mean",
) -> dict[str, Tensor]:
    """verl's line of clipped losses, with what it logs: loss, clipped (share), capped (share), kl (mean old - new)."""
    ratio = ratios.log_ratio(logp, old)
    terms = objectives.clipped_surrogate(ratio, advantage, low, high, cap=cap)
    held = objectives.clipped_actions(ratio, advantage, low, high, cap=cap or math.inf)
    aggregations: dict[str, dict[str, Any]] = {
        "token-mean": {"over": "token", "eps": 1e-8},
        "seq-mean-token-sum": {"constant": 1},
        "seq-mean-token-sum-norm": {"constant": mask.shape[1], "total": 1},
        "seq-mean-token-mean": {"eps": 1e-8},
    }
    return {
        "loss": weighted_total(terms, action_weights(mask, **aggregations[mode])),
        "clipped": masked_mean((held.low | held.high).to(logp), mask, eps=1e-8),
        "capped": masked_mean(held.cap.to(logp), mask, eps=1e-8),
        "kl": masked_mean(-ratio, mask, eps=1e-8),
    }


def on_policy(
    rewards: Tensor, size: int, logps: Tensor, ref: Tensor | None, mask: Tensor, beta: float, **options: Any
) -> dict[str, Any]:
    """A whole first update of TRL's line: advantages of consecutive groups, loss, and its gradient."""
    advantage = grouped(rewards, size)
    loss = grpo_loss(logps, advantage, mask, ref=ref, beta=beta, **options)
    return {"advantages": advantage, "loss": loss, "grad": gradient(loss, logps)}


def verl_kl(logp: Tensor, ref: Tensor, kind: str) -> Tensor:
    """verl's names of the KL estimators, `low_var_kl` clamped to ±10 after the formula."""
    names: dict[str, divergences.Estimator] = {"kl": "k1", "abs": "abs", "mse": "k2", "low_var_kl": "k3"}
    return divergences.kl_estimate(logp, ref, names[kind], clamp=10 if kind == "low_var_kl" else None)


def shaped_group(
    reward_RK: Tensor,
    length_R: Tensor,
    window: tuple[int, int] | None,
    shuffled_accuracy: Tensor | None = None,
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """Video-R1's line for one group: a bonus for order, a bonus for the length of right answers, then the advantage."""
    group_R = torch.zeros(len(reward_RK), dtype=torch.long)
    accuracy_R = reward_RK[:, 0]
    if shuffled_accuracy is not None:
        other = torch.zeros(len(shuffled_accuracy), dtype=torch.long)
        accuracy_R = accuracy_R + beats_auxiliary_bonus(accuracy_R, group_R, shuffled_accuracy, other)
    reward_RK = torch.cat([accuracy_R[:, None], reward_RK[:, 1:]], 1)
    reward_R = reward_RK.sum(1) if weight is None else reward_RK @ weight
    if window is not None:
        reward_R = reward_R + length_window_bonus(accuracy_R, length_R, group_R, low=window[0], high=window[1])
    return {"rewards": reward_R, "advantages": grouped(reward_R, len(reward_R))}


def by_column(reward: Tensor, group_R: Tensor, **options: Any) -> Tensor:
    """Advantages of a vector, or of each column (denoising step) of a table on its own."""
    if reward.dim() == 1:
        return advantages.group_normalize(reward, group_R, **options)
    return torch.stack([advantages.group_normalize(column, group_R, **options) for column in reward.T], 1)


def sample_weights(reward: Tensor, group_R: Tensor, mode: str, global_std: bool) -> Tensor:
    """Flow-GRPO's line: what a sample is worth under GRPO, SFT of the best, DPO pairs or reward-weighted regression."""
    if mode == "rwr":
        return reward
    if mode == "sft":
        return selection.best_of_each(reward, group_R)
    if mode == "dpo":
        return selection.best_and_worst(reward, group_R)
    return by_column(reward, group_R, scale="batch" if global_std else "group", unbiased=False)


def step_terms(logp: Tensor, old: Tensor, advantage: Tensor, limit: float, clip: float) -> Tensor:
    """The clipped surrogate of one denoising step, advantages kept within ±limit."""
    return objectives.clipped_surrogate(ratios.log_ratio(logp, old), advantage.clamp(-limit, limit), clip)


def denoising_gains(predicted: Tensor, reference: Tensor, target: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """β · log π / π_ref of chosen (first half) and rejected predictions."""
    gain = denoising.denoising_score(predicted, target, beta) - denoising.denoising_score(reference, target, beta)
    chosen, rejected = gain.chunk(2)
    return chosen, rejected


def drawn(step: sampling.Transition, noise: Tensor | None, recorded: Tensor | None) -> Tensor:
    """The recorded next latent, or the one that the noise draws."""
    if recorded is not None:
        return recorded
    if noise is None:
        raise ValueError("A step needs noise to draw its next latent with, or the recorded one.")
    return step.draw(noise)


def flow_step(
    sigmas: Tensor,
    index_N: Tensor,
    eta: float,
    x: Tensor,
    velocity: Tensor,
    noise: Tensor | None,
    prev: Tensor | None,
    kind: Any = "flow",
) -> dict[str, Tensor]:
    """Flow-GRPO's scheduler step with a level for each row: drawn with the noise, or replayed."""
    sigma, sigma_next = sigmas[index_N], sigmas[index_N + 1]
    step = sampling.flow_sde(x, velocity, sigma, sigma_next, eta, kind, sigma_one=sigmas[1])
    prev = drawn(step, noise, prev)
    sqrt_dt = (sigma - sigma_next).sqrt()
    return {
        "prev_sample": prev,
        "log_prob": sampling.gaussian_logp(prev, step.mean, step.std, "square" if kind == "preserving" else "density"),
        "prev_sample_mean": step.mean,
        "std_dev_t": step.std if kind == "preserving" else step.std / sqrt_dt,
        "sqrt_dt": sqrt_dt,
    }


def dance_step(
    steps: int,
    shift: float,
    index: int,
    eta: float,
    grpo: bool,
    sde_solver: bool,
    x: Tensor,
    velocity: Tensor,
    noise: Tensor | None,
    prev: Tensor | None,
    form: Any = "density",
    noisy: bool = True,
) -> dict[str, Any]:
    """DanceGRPO's step: with the score's correction or without, drawn, replayed, or (grpo False) its mean."""
    sigmas = sampling.shifted_sigmas(steps, shift)
    sigma, sigma_next = sigmas[index], sigmas[index + 1]
    step = sampling.flow_sde(x, velocity, sigma, sigma_next, eta, "constant")
    if not sde_solver:
        step = step._replace(mean=sampling.flow_sde(x, velocity, sigma, sigma_next, 0.0).mean)
    answer: dict[str, Any] = {"pred_original_sample": step.clean, "sigma": sigma, "sigma_next": sigma_next}
    if not grpo:
        return {"prev_sample": step.mean, **answer}
    prev = drawn(step, noise, prev if noisy or prev is not None else step.mean)
    return {"prev_sample": prev, "log_prob": sampling.gaussian_logp(prev, step.mean, step.std, form), **answer}


def ddim_levels(scheduler: dict[str, Any], timestep_N: Tensor, *, clamped: bool) -> tuple[Tensor, Tensor]:
    """ᾱ now and at the step before; before the first step: the first one's (clamped), or the scheduler's final one."""
    alphas = sampling.scaled_linear_alphas()
    final = torch.tensor(1.0) if scheduler["set_alpha_to_one"] else alphas[0]
    before = timestep_N - 1000 // scheduler["num_inference_steps"]
    known = alphas[before.clamp(min=0)]
    return alphas[timestep_N], known if clamped else torch.where(before >= 0, known, final)


def ddim_step(
    scheduler: dict[str, Any], x: Tensor, predicted: Tensor, alpha: Tensor, alpha_next: Tensor, eta: float
) -> sampling.Transition:
    """A DDIM step of a scheduler with these settings."""
    clip = 1.0 if scheduler["clip_sample"] else None
    return sampling.ddim(x, predicted, alpha, alpha_next, eta, predicts=scheduler["prediction_type"], clip=clip)


def dpm_steps(
    steps: int,
    shift: float,
    start: int,
    algorithm: str,
    order: int,
    solver_type: str,
    sde: list[bool],
    x: Tensor,
    velocities: Tensor,
    noises: Tensor,
) -> list[dict[str, Tensor]]:
    """Consecutive DPM-Solver steps from an empty history, as MixGRPO takes them between its windows."""
    sigmas = sampling.shifted_sigmas(steps, shift)
    history: list[Tensor] = []
    answers = []
    for k, stochastic in enumerate(sde):
        i = start + k
        clean = x - sigmas[i] * velocities[k]
        history.insert(0, clean)  # Released: in the noise's place too, where the solver without ++ wants that.
        use = sampling.multistep_order(order, i, steps, len(history))
        levels = [sigmas[i + 1 - j] for j in range(use + 1)]
        step = sampling.dpm_solver(
            x,
            history[:use],
            levels,
            predicts="clean" if algorithm == "dpmsolver++" else "noise",
            heun=solver_type == "heun",
            stochastic=stochastic,
        )
        if stochastic and use == 3:
            # Released: the second difference enters with the sign of its half turned round.
            lam = [((1 - sigma) / sigma).log() for sigma in levels]
            step = step._replace(mean=step.mean - (1 - levels[0]) * sampling.divided_differences(history[:3], lam)[1])
        x = step.draw(noises[k]) if stochastic else step.mean
        answers.append({"prev_sample": x, "x0": clean})
        if stochastic:
            answers[-1]["log_prob"] = sampling.gaussian_logp(x, step.mean, step.std)
    return answers
