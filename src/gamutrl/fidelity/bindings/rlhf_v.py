"""RLHF-V's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import F64, I64
from gamutrl.functional import (
    preference,
)
from gamutrl.rewards import edits, parsing


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


def diff_token_ids(rejected_ids: list[int], chosen_ids: list[int], min_match_size: int) -> dict[str, list[int]]:
    rejected, chosen = edits.changed_positions(rejected_ids, chosen_ids, shortest=min_match_size)
    return {"rejected_changed": rejected, "chosen_changed": chosen}


def token_weights(chosen_ids: list[int], rejected_ids: list[int], gamma: float) -> dict[str, list[float]]:
    rejected, chosen = edits.changed_positions(rejected_ids, chosen_ids)
    return {
        "chosen": edits.weights(len(chosen_ids), chosen, gamma),
        "rejected": edits.weights(len(rejected_ids), rejected, gamma),
    }


def parse_object_list(content: str) -> Any:
    value = parsing.loads(content)
    if value is None and '["' in content:
        value = parsing.loads(content.split("\n")[-1])
    return {"error": "ValueError"} if value is None else value


def weighted_logp(per_token_logp: F64, labels: I64, token_weight: F64, use_average: bool) -> Tensor:
    mask = labels[:, 1:] != -100
    return preference.sequence_logp(per_token_logp, mask, weight_MT=token_weight, average=use_average)
