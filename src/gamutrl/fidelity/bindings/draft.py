"""AlignProp's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity.inputs import F64, Leaf64, gradient


def aesthetic_loss(
    rewards: Leaf64, aesthetic_target: float | None, grad_scale: float, loss_coeff: float
) -> dict[str, Tensor]:
    distance = -rewards if aesthetic_target is None else (rewards - aesthetic_target).abs()
    loss = (distance * grad_scale).mean() * loss_coeff
    return {"per_sample": distance * grad_scale, "loss": loss, "grad_rewards": gradient(loss, rewards)}


def hps_loss(image_features: F64, text_features: F64) -> dict[str, Tensor]:
    scores = (image_features * text_features).sum(1)
    return {"scores": scores, "per_sample": 1 - scores, "loss": (1 - scores).mean() * 0.01}
