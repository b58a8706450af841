"""MetaSpatial's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, Labels


def group_advantage(scores: F32, group_ids: Labels) -> Tensor:
    return compose.outcome(scores, group_ids)


def low_var_kl(logps: F64, ref_logps: F64) -> Tensor:
    return compose.verl_kl(logps, ref_logps, "low_var_kl")


def ppo_clip_loss(logps: F64, old_logps: F64, advantages: F64, mask: F64, cliprange: float) -> dict[str, Tensor]:
    answer = compose.verl_loss(logps, old_logps, advantages, mask, cliprange)
    return {"pg_loss": answer["loss"], "clipfrac": answer["clipped"], "ppo_kl": answer["kl"]}
