"""TW-GRPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import objectives, probabilities, ratios
from gamutrl.functional.groups import consecutive
from gamutrl.functional.weights import action_weights, weighted_total


def token_importance_weights(logits: F32, completion_mask: F32, num_generations: int, alpha: float) -> Tensor:
    groups = consecutive(len(logits), num_generations)
    score = probabilities.disagreement(logits.log_softmax(-1), completion_mask, groups)
    return (1 + (alpha - 1) * score) * completion_mask


def tw_grpo_loss(
    rewards: F32, logp: F32, old_logp: F32, token_weights: F32, completion_mask: F32, num_generations: int
) -> dict[str, Any]:
    advantages = compose.grouped(rewards, num_generations)
    ratio = ratios.log_ratio(logp, old_logp)
    terms = objectives.clipped_surrogate(ratio, advantages[:, None], 0.20, 0.28)
    return {
        "tw_grpo": weighted_total(token_weights * terms, action_weights(completion_mask, "token")),
        "grpo": weighted_total(terms, action_weights(completion_mask)),
    }
