"""VAU-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32


def grpo_loss_no_clip(
    rewards: F32, logp: F32, ref_logp: F32, mask: F32, num_generations: int, beta: float
) -> dict[str, Any]:
    answer = compose.on_policy(rewards, num_generations, logp, ref_logp, mask, beta)
    return {"advantages": answer["advantages"], "loss": answer["loss"]}
