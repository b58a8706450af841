"""Diffusion-DPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, I64, Leaf64, gradient
from gamutrl.functional import (
    divergences,
    preference,
)


def dpo_loss(model_pred: Leaf64, ref_pred: F64, target: F64, beta: float) -> dict[str, Tensor]:
    chosen, rejected = compose.denoising_gains(model_pred, ref_pred, target, beta)
    loss = preference.dpo(chosen, rejected, 1.0).mean()
    return {
        "loss": loss,
        "implicit_acc": (chosen > rejected).double().mean(),
        "inside_term": chosen - rejected,
        "raw_model_loss": divergences.mean_square(model_pred, target).mean(),
        "raw_ref_loss": divergences.mean_square(ref_pred, target).mean(),
        "grad_model_pred": gradient(loss, model_pred),
    }


def pair_order(label_0: list[float], choice_model: str) -> dict[str, Any]:
    names = ["jpg_0", "jpg_1"]
    return {
        "kept_rows": [i for i, label in enumerate(label_0) if label in (0, 1)],
        "preferred_first": [names[::-1] if label == 0 and not choice_model else names for label in label_0],
    }


def timestep_rule(model: str, timesteps: I64, dpo: bool) -> Tensor:
    if "refiner" in model:
        timesteps = timesteps % 200
    elif "turbo" in model:
        timesteps = 250 * (timesteps % 4) + 249
    return timesteps[: len(timesteps) // 2].repeat(2) if dpo else timesteps
