"""SimpleAR's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose, released_generation
from gamutrl.fidelity.inputs import F64, I64, Leaf64, gradient
from gamutrl.functional import advantages as adv
from gamutrl.rewards import alignment


def group_advantages(rewards_per_func: F64, reward_weights: F64, num_generations: int) -> Tensor:
    return compose.grouped(adv.weighted_sum(rewards_per_func, reward_weights), num_generations)


def grpo_loss(
    logps: Leaf64,
    ref_logps: F64,
    advantages: F64,
    mask: F64,
    beta: float,
    epsilon: float,
    old_logps: F64 | None = None,
) -> dict[str, Tensor]:
    loss = compose.grpo_loss(
        logps, advantages, mask, old=old_logps, ref=ref_logps, beta=beta, low=epsilon, over="token"
    )
    return {"loss": loss, "grad_logps": gradient(loss, logps)}


def clip_reward(image_features: F64, text_features: F64) -> Tensor:
    return alignment.cosine(image_features, text_features)


def clip_text_from_prompt(caption: str) -> dict[str, str]:
    prompt = f"<|t2i|>A photo of {caption}<|soi|>"
    return {"prompt": prompt, "clip_text": released_generation.simplear_caption(prompt)}


def image_token_index(token_ids: I64, vocab_len: int, latent: int) -> Tensor:
    return (token_ids - vocab_len).clamp(0, 63999).reshape(-1, 1, latent, latent)
