"""Diffusion-DPO's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, Leaf64, gradient
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
