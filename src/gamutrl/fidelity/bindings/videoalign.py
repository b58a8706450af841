"""VideoAlign's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, I64, Labels, Leaf64, gradient
from gamutrl.functional import denoising, preference
from gamutrl.metrics import preferences


def flow_dpo_loss(
    x_win: F64, x_lose: F64, noise: F64, sigma: F64, v_theta: Leaf64, v_ref: F64, beta: float
) -> dict[str, Tensor]:
    x, both = torch.cat([x_win, x_lose]), torch.cat([noise, noise])
    noised = denoising.corrupt(x, both, torch.cat([sigma, sigma]))
    chosen, rejected = compose.denoising_gains(v_theta, v_ref, both - x, beta)
    loss = preference.dpo(chosen, rejected, 1.0).mean()
    return {
        "x_t": noised,
        "inside_term": chosen - rejected,
        "loss": loss,
        "grad_v_theta": gradient(loss, v_theta),
    }


def sample_weights(rewards: F64, prompts: Labels, mode: str, global_std: bool) -> Tensor:
    return compose.sample_weights(rewards, prompts, mode, global_std)


def reward_model_loss(
    rewards_A: Leaf64, rewards_B: Leaf64, scores_A: F64, scores_B: F64, chosen_label: I64, loss_type: str
) -> dict[str, Tensor]:
    first = chosen_label == 1
    chosen, rejected = torch.where(first, rewards_A, rewards_B), torch.where(first, rewards_B, rewards_A)
    better, worse = torch.where(first, scores_A, scores_B), torch.where(first, scores_B, scores_A)
    decided = chosen_label.abs() == 1
    if loss_type == "reg":
        rewards, scores = torch.stack([rewards_A, rewards_B], 1), torch.stack([scores_A, scores_B], 1)
        terms = (rewards - (scores - 3)).square() * (scores != 0)
    elif loss_type == "btt":
        terms = preference.bradley_terry_ties(chosen, rejected, ~decided) * (chosen_label != 22)
    else:
        margin: Any = {"margin": better - worse, "constant_margin": 0.57}.get(loss_type, 0.0)
        terms = preference.bradley_terry(chosen, rejected, margin) * decided
        terms = terms * (better - worse) if loss_type == "scaled" else terms
    loss = terms.mean()
    return {
        "loss": loss,
        "elementwise": terms,
        "grad_A": gradient(loss, rewards_A),
        "grad_B": gradient(loss, rewards_B),
    }


def preference_accuracy(h: list[int], m: list[float]) -> dict[str, float | None]:
    return {"with_ties": preferences.accuracy_with_ties(h, m), "without_ties": preferences.accuracy(h, m)}


def reward_normalisation(config: dict[str, float] | None, reward: dict[str, float]) -> dict[str, float]:
    scale = config or {}
    scaled = {
        name: (value - scale.get(f"{name}_mean", 0)) / scale.get(f"{name}_std", 1) for name, value in reward.items()
    }
    return {**scaled, "Overall": sum(scaled.values())}
