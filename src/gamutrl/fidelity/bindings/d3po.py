"""D3PO's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity.inputs import F64, Leaf64, gradient
from gamutrl.functional import (
    preference,
    ratios,
)


def d3po_loss(
    logp_0: Leaf64,
    ref_logp_0: F64,
    logp_1: Leaf64,
    ref_logp_1: F64,
    human_prefer: F64,
    beta: float,
    eps: float,
) -> dict[str, Tensor]:
    first = ratios.clip_log_ratio(logp_0 - ref_logp_0, eps)
    second = ratios.clip_log_ratio(logp_1 - ref_logp_1, eps)
    side = human_prefer[:, 0]
    loss = preference.dpo(side * first, side * second, beta).mean()
    return {
        "loss": loss,
        "ratio_0": first.exp(),
        "ratio_1": second.exp(),
        "grad_logp_0": gradient(loss, logp_0),
        "grad_logp_1": gradient(loss, logp_1),
    }
