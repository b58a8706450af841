"""CoRL's released code, answered by ours."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F64, Leaf64, gradient


def unified_advantages(
    t2i_rewards: F64, mm2t_rewards: F64, num_generations: int, unify_reward: bool
) -> dict[str, Tensor | None]:
    if unify_reward:
        unified = compose.grouped(t2i_rewards + 0.8 * mm2t_rewards, num_generations)
        return {"unified_advantages": unified, "t2i_advantages": None, "mm2t_advantages": None}
    apart = (compose.grouped(rewards, num_generations) for rewards in (t2i_rewards, mm2t_rewards))
    return {"unified_advantages": None, **dict(zip(("t2i_advantages", "mm2t_advantages"), apart))}


def unified_grpo_loss(
    mode: str,
    beta: float,
    adv_t2i: F64,
    adv_mm2t: F64,
    t2i_logps: Leaf64,
    t2i_ref: F64,
    mm2t_logps: Leaf64,
    mm2t_ref: F64,
    mm2t_mask: F64,
) -> dict[str, Tensor]:
    if mode == "unify_advantage":
        adv_t2i = adv_t2i + 0.8 * adv_mm2t
    drawing = compose.grpo_loss(t2i_logps, adv_t2i, torch.ones_like(t2i_logps), ref=t2i_ref, beta=beta)
    advantage = adv_mm2t if mode == "separate" else adv_t2i
    answering = compose.grpo_loss(mm2t_logps, advantage, mm2t_mask, ref=mm2t_ref, beta=beta)
    loss = drawing + answering
    return {"loss": loss, "grad_t2i": gradient(loss, t2i_logps), "grad_mm2t": gradient(loss, mm2t_logps)}
