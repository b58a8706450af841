"""Ground-R1's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity.inputs import F64
from gamutrl.functional import (
    divergences,
)


def kl_clamped_k3(logp: F64, ref_logp: F64) -> Tensor:
    return divergences.kl_estimate(logp, ref_logp, bound=10)
