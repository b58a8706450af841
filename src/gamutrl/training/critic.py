"""A critic in the group's place: PPO (arXiv 1707.06347), with a value head on the policy's own states.

The head says of each state how much reward is still to come. An action's advantage is what followed it, less that
(GAE, arXiv 1506.02438), so a prompt needs one rollout only. `with_critic` makes such a stage of any RL stage whose
policy has a head (`policies.models.CriticModel`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.functional.advantages import generalized_advantages, masked_whiten, on_last_action
from gamutrl.functional.objectives import clipped_value_loss
from gamutrl.policies.base import VALUE
from gamutrl.training.defaults import ClippedSurrogate
from gamutrl.training.rl import RL

Stage = TypeVar("Stage", bound=RL)


@dataclass(frozen=True)
class GAE:
    """Generalised advantages of a policy's own value head: an `advantage`. Adds `value_old_NT` and `return_NT`.

    A row's reward comes with its last action; one whose reward is NaN teaches nothing. gamma, lam: how what comes later
    counts, and how far it is looked at instead of trusting the values. whiten: advantages get mean 0 and deviation 1
    over the batch's actions. model: whose head it is.
    """

    gamma: float = 1.0
    lam: float = 0.95
    whiten: bool = True
    model: str = "policy"

    def __call__(self, batch: Batch, context: Context) -> Batch:
        reward_N = batch["reward_R"][batch.rollout_N]
        mask_NT, reward_N = batch.mask_NT & ~reward_N.isnan()[:, None], reward_N.nan_to_num()
        with torch.no_grad():
            _, found = context.models[self.model].log_probs(batch, {"value": VALUE})
        value_NT = found["value"].to(reward_N)
        reward_NT = on_last_action(reward_N, mask_NT)
        advantage_NT, return_NT = generalized_advantages(reward_NT, value_NT, mask_NT, self.gamma, self.lam)
        returns, missed = return_NT[mask_NT].double(), (return_NT - value_NT)[mask_NT].double()
        if len(returns) > 1:
            context.metrics["value/mean"] = float(value_NT[mask_NT].mean())
            spread = float(returns.var())
            context.metrics["value/explained"] = 1 - float(missed.var()) / spread if spread else 0.0
            if self.whiten:
                advantage_NT, _, _ = masked_whiten(advantage_NT, mask_NT)
        return_NT = torch.where(mask_NT, return_NT, value_NT)
        return batch.with_(advantage_NT=advantage_NT * mask_NT, value_old_NT=value_NT, return_NT=return_NT)


@dataclass(frozen=True)
class ActorCritic(ClippedSurrogate):
    """PPO's objective: the clipped surrogate, and `value_weight` times the value's clipped squared error.

    value_clip: how far a value may move from what it was at sampling and still be followed.
    """

    value_weight: float = 0.5
    value_clip: float = 0.2

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        value_NT = batch["value_NT"].to(logp_NT)
        old_NT, return_NT = batch["value_old_NT"].to(value_NT), batch["return_NT"].to(value_NT)
        error_NT, _ = clipped_value_loss(value_NT, old_NT, return_NT, self.value_clip)
        return super().__call__(logp_NT, batch, context) + self.value_weight * error_NT


def with_critic(stage: Stage, advantage: GAE = GAE(), objective: ActorCritic = ActorCritic(), **changes: Any) -> Stage:
    """The stage with a critic: GAE's advantages, and an objective that trains the head with the policy; and what else
    changes."""
    return replace(
        stage,
        advantage=replace(advantage, model=stage.trains),
        objective=objective,
        statistics=(*stage.statistics, ("value", VALUE)),
        **changes,
    )
