"""Diffusion-KTO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F64, I64, Leaf64, Mask, gradient
from gamutrl.functional import preference, selection


def balanced_sampling_weights(labels: I64, positive_ratio: float) -> Tensor:
    return selection.class_weights(labels, positive_ratio)


def kto_loss(
    model_losses: Leaf64,
    ref_losses: F64,
    labels: Mask,
    beta: float,
    bce_offset: str,
    halo: str,
    lambda_d: float,
    lambda_u: float,
) -> dict[str, Tensor]:
    gain = ref_losses - model_losses
    if bce_offset == "sigmoid":
        sides = [gain[side].sum() / (side.sum() + 1e-6) for side in (labels, ~labels)]
        kl = 0.5 * (sides[0] + sides[1]).detach()
    else:
        kl = gain.mean().clamp(min=0).detach()
    value = preference.prospect_value(gain, labels, kl, beta, halo)  # type: ignore[arg-type]
    terms = torch.where(labels, lambda_d, lambda_u) * (1 - value)
    loss = terms.mean()
    sign = torch.where(labels, 1.0, -1.0)
    return {
        "loss": loss,
        "per_sample": terms,
        "kl": kl,
        "h": value,
        "acc": (beta * (gain - kl) * sign > 0).float().mean(),
        "grad_model_losses": gradient(loss, model_losses),
    }


LIKED = {"gt_label_wi_l": ("exclusive_win", "intersections")}


def binary_label_policy(policy: str, split: list[str]) -> dict[str, Any]:
    rows = [i for i, kind in enumerate(split) if policy != "gt_label_w_l" or kind != "intersections"]
    return {"kept_rows": rows, "label": [split[i] in LIKED.get(policy, ("exclusive_win",)) for i in rows]}
