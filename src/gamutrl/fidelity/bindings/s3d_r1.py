"""3D-R1's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity.inputs import F64
from gamutrl.functional import (
    divergences,
)


def kl_to_reference(logits_current: F64, logits_ref: F64) -> Tensor | float:
    if logits_current is None or logits_ref is None or logits_current.shape != logits_ref.shape:
        return 0.0
    kl = divergences.kl_full(logits_ref.log_softmax(-1), logits_current.log_softmax(-1))
    return kl.sum() / len(logits_current)
