"""UnifiedReward-Think's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import (
    divergences,
)


def grpo_advantage_and_loss(
    rewards: F32,
    num_generations: int,
    per_token_logps: F32,
    ref_per_token_logps: F32,
    completion_mask: F32,
    beta: float,
) -> dict[str, Any]:
    bound = {"bound": 10}
    answer = compose.on_policy(
        rewards, num_generations, per_token_logps, ref_per_token_logps, completion_mask, beta, kl=bound
    )
    kl = divergences.kl_estimate(per_token_logps, ref_per_token_logps, **bound)
    return {"advantages": answer["advantages"], "loss": answer["loss"], "token_kl": kl}
