"""ReasonGen-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, Labels, Leaf64, gradient
from gamutrl.functional import controllers, probabilities, selection
from gamutrl.functional.weights import masked_mean
from gamutrl.rewards import grading


def grpo_outcome_advantage(token_level_rewards: F32, mask: F32, index: Labels) -> Tensor:
    return compose.outcome(token_level_rewards.sum(1), index, mask)


def kl_penalty(logprob: F64, ref_logprob: F64, kind: str) -> Tensor:
    return compose.verl_kl(logprob, ref_logprob, kind)


def policy_loss(log_prob: Leaf64, old_log_prob: F64, advantages: F64, mask: F64, cliprange: float) -> dict[str, Tensor]:
    answer = compose.verl_loss(log_prob, old_log_prob, advantages, mask, cliprange)
    return {
        "loss": answer["loss"],
        "clipfrac": answer["clipped"],
        "approx_kl": answer["kl"],
        "grad": gradient(answer["loss"], log_prob),
    }


def group_filter(uids: Labels, rewards: F32) -> dict[str, Any]:
    kept = selection.informative(rewards, uids)
    return {"kept_rows": kept.nonzero().flatten(), "num_prompts_kept": len(uids[kept].unique())}


def boxed_judge_reward(texts: list[str], paired: bool = False) -> list[float]:
    replies = [grading.boxed(text) for text in texts]
    return [float(reply == number) for reply in replies for number in (("1", "2") if paired else ("1",))]


def masked_entropy(logits: F64, mask: F64) -> Tensor:
    return masked_mean(probabilities.entropy(logits), mask, eps=1e-8)


def adaptive_entropy_coeff(
    entropies: list[float],
    initial_alpha: float,
    target_entropy: float,
    lr: float,
    max_coeff: float,
    min_coeff: float,
) -> dict[str, Any]:
    controller = controllers.EntropyController(
        target_entropy, lr=lr, low=min_coeff, high=max_coeff, initial=initial_alpha
    )
    used = []
    for entropy in entropies:
        used.append(controller.coefficient)
        controller.update(entropy)
    return {"entropy_coeff_used": [float(value) for value in used], "final_alpha": controller.alpha}
