"""V-Triune's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, Leaf, gradient


def ppo_clip_high_loss(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    dual_clip: bool,
    loss_agg_mode: str,
) -> dict[str, Tensor]:
    cap = 3.0 if dual_clip else None
    answer = compose.verl_loss(log_prob, old_log_prob, advantages, response_mask, 0.2, 0.28, cap, mode=loss_agg_mode)
    return {
        "loss": answer["loss"],
        "clipfrac": answer["clipped"],
        "clipfrac_lower": answer["capped" if dual_clip else "clipped"],
        "grad_log_prob": gradient(answer["loss"], log_prob),
    }
