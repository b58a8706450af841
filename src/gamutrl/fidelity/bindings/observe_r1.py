"""Observe-R1's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity.inputs import F32
from gamutrl.functional import advantages as adv
from gamutrl.functional.groups import consecutive


def group_advantage(
    rewards: F32,
    response_lengths: F32,
    n_samples_per_prompt: int,
    use_bonus: bool = False,
    use_dyna_weight: bool = False,
    bonus_constraint: float = 0,
    bonus_reward_coef: float = 0.0,
    diff_coef: float = 1.0,
) -> Tensor:
    groups = consecutive(len(rewards), n_samples_per_prompt)
    return adv.group_normalize(rewards, groups, eps=1e-9)
