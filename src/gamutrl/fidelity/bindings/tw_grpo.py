"""TW-GRPO's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gamutrl.data import transforms
from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import objectives, probabilities, ratios
from gamutrl.functional.groups import consecutive
from gamutrl.functional.weights import action_weights, weighted_total
from gamutrl.recipes.tw_grpo import Disagreement
from gamutrl.rewards import answers, maths, tags


def token_importance_weights(logits: F32, completion_mask: F32, num_generations: int, alpha: float) -> Tensor:
    size = num_generations
    groups = zip(logits.split(size), completion_mask.split(size))
    scores = [Disagreement()(logits_GTV, mask_GT) for logits_GTV, mask_GT in groups]
    everywhere = torch.ones_like(completion_mask, dtype=torch.bool)
    share = probabilities.stretched(torch.cat(scores), everywhere, consecutive(len(logits), size))
    return (1 + (alpha - 1) * share) * completion_mask


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


def soft_multilevel_accuracy(completion: str, solution: str, partial_credit: bool = True) -> float:
    if maths.math_equal(solution, completion):
        return 1.0
    compare = partial(answers.subset_share, partly=partial_credit, strict=True)
    return answers.accuracy(completion, solution, compare=compare, missing="whole")


def binary_accuracy(completion: str, solution: str) -> float:
    return soft_multilevel_accuracy(completion, solution, False)


def format_reward(completion: str) -> float:
    if completion.count("<think>") > 1 or completion.count("<answer>") > 1:
        return 0.0
    return tags.tag_format(completion, before=True, after=" \t\n\r\f\v!", strip=True)


def negate_question(question: str) -> str:
    return transforms.negated(question.lower(), otherwise="")
