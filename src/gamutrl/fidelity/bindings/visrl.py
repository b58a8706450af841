"""VisRL's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import tensor
from gamutrl.functional import (
    preference,
)


def two_step_dpo_loss(step1: dict[str, Any], step2: dict[str, Any], beta: float, ftx: float) -> Tensor:
    def loss(step: dict[str, Any]) -> Tensor:
        pi_c, pi_r, ref_c, ref_r, length = (
            tensor(step[name]) for name in ("pi_chosen", "pi_rejected", "ref_chosen", "ref_rejected", "len_chosen")
        )
        return preference.dpo(pi_c - ref_c, pi_r - ref_r, beta) - ftx * pi_c / length

    return (0.5 * loss(step1) + 0.5 * loss(step2)).mean()
