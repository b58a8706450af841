"""Time-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32


def policy_loss(logps: F32, ref_logps: F32, advantages: F32, mask: F32, beta: float, use_grpo: bool) -> Tensor:
    over: Any = "sequence" if use_grpo else "token"
    return compose.grpo_loss(logps, advantages, mask, ref=ref_logps, beta=beta, over=over)
