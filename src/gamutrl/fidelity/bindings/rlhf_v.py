"""RLHF-V's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity.inputs import F64, I64
from gamutrl.functional import (
    preference,
)


def ddpo_loss(
    policy_chosen: F64,
    policy_rejected: F64,
    ref_chosen: F64,
    ref_rejected: F64,
    chosen_labels: I64,
    rejected_labels: I64,
    chosen_weight: F64,
    rejected_weight: F64,
    beta: float,
    use_average: bool,
) -> dict[str, Tensor]:
    def score(logps: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        mask = labels[None, 1:] != -100
        return preference.sequence_logp(logps[None], mask, weight_MT=weight[None], average=use_average)

    chosen = score(policy_chosen, chosen_labels, chosen_weight) - score(ref_chosen, chosen_labels, chosen_weight)
    rejected = score(policy_rejected, rejected_labels, rejected_weight) - score(
        ref_rejected, rejected_labels, rejected_weight
    )
    return {
        "loss": preference.dpo(chosen, rejected, beta).mean(),
        "reward_chosen": beta * chosen.mean(),
        "reward_rejected": beta * rejected.mean(),
    }
