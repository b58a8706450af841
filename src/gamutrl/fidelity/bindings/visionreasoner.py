"""VisionReasoner's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, Labels
from gamutrl.functional import (
    divergences,
)


def grpo_outcome_advantage(scores: F32, index: Labels) -> Tensor:
    return compose.outcome(scores, index)


def kl_low_var(logprob: F32, ref_logprob: F32) -> Tensor:
    return divergences.kl_estimate(logprob, ref_logprob, clamp=10)
