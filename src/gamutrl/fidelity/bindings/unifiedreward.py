"""UnifiedReward's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import (
    preference,
)


def diffusion_dpo_loss(model_pred: F32, ref_pred: F32, target: F32, beta_dpo: float) -> dict[str, Tensor]:
    chosen, rejected = compose.denoising_gains(model_pred, ref_pred, target, beta_dpo)
    return {
        "loss": preference.dpo(chosen, rejected, 1.0).mean(),
        "implicit_acc": (chosen > rejected).float().mean(),
    }
