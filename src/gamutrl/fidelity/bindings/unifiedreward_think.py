"""UnifiedReward-Think's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.environments import views
from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64
from gamutrl.functional import divergences
from gamutrl.rewards import tags


def grpo_advantage_and_loss(
    rewards: F64,
    num_generations: int,
    per_token_logps: F64,
    ref_per_token_logps: F64,
    completion_mask: F64,
    beta: float,
) -> dict[str, Any]:
    bound: Any = {"bound": 10}
    answer = compose.on_policy(
        rewards, num_generations, per_token_logps, ref_per_token_logps, completion_mask, beta, kl=bound
    )
    kl = divergences.kl_estimate(per_token_logps, ref_per_token_logps, **bound)
    return {"advantages": answer["advantages"], "loss": answer["loss"], "token_kl": kl}


def accuracy_reward(completions: list[str], solution: list[str]) -> list[float]:
    right = [float(tags.tag_text(text, missing="whole") == one) for text, one in zip(completions, solution)]
    return right + [0.1] * (len(completions) - len(right))


def format_reward(completions: list[str]) -> list[float]:
    return [tags.tag_format(text, after=True) for text in completions]


def frame_subsample(n_frames: int) -> list[int]:
    return views.thinned_halves(n_frames)
