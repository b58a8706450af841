"""PARM's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import F32, F64, I64
from gamutrl.functional import (
    masking,
    preference,
    probabilities,
)
from gamutrl.rewards import paths


def dpo_with_reward_guidance(
    policy_chosen: F32,
    policy_rejected: F32,
    ref_chosen: F32,
    ref_rejected: F32,
    beta: float,
    yes_probs: F32,
    reward_coef: float,
    dpo_coef: float,
    sft_loss: float,
    sft_coef: float,
) -> Tensor:
    loss = preference.dpo(policy_chosen - ref_chosen, policy_rejected - ref_rejected, beta).mean()
    if reward_coef:
        return loss - reward_coef * yes_probs.clamp(min=1e-7).log().mean()
    return dpo_coef * loss + sft_coef * sft_loss


def path_state(steps: list[dict[str, Any]]) -> dict[str, Any]:
    verdict = paths.path_verdict(paths.Look(step["clarity"], step["potential"], step["no_prob"]) for step in steps)
    return {
        "kept": verdict.kept,
        "no_prob": verdict.no_probability,
        "judged_step": verdict.step,
        "verifier_steps": verdict.seen,
    }


def final_selection(kept: list[bool], no_probs: list[float], orm_yes_probs: list[float]) -> int:
    return paths.chosen_path(kept, no_probs, orm_yes_probs)


def orm_score(first_token: str, logits: F32) -> dict[str, Any]:
    said = first_token.lower()
    probability = float(logits.softmax(0)[0]) if said in ("yes", "no") else 0.0
    return {"is_yes": said == "yes", "yes_prob": probability}


def masked_image_logps(logits: F64, labels: I64, max_seq_length: int, average_log_prob: bool) -> Tensor:
    image = labels[:, max_seq_length + 1 :]
    logp = probabilities.selective_log_softmax(logits[:, max_seq_length + 1 :], image.clamp(min=0))
    return preference.sequence_logp(logp, image != -100, average=average_log_prob)


def maskgit_schedule(timesteps: int, num_vq_tokens: int, temperature: float) -> list[dict[str, float]]:
    answers = []
    for step, left in enumerate(masking.tokens_left(timesteps, num_vq_tokens)):
        temperature *= 1 - (step + 1) / timesteps  # Released: step upon step.
        answers.append({"masked_after": left, "temperature": temperature})
    return answers
