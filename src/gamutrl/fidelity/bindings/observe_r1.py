"""Observe-R1's released code, answered by ours."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.fidelity import released
from gamutrl.fidelity.inputs import F32
from gamutrl.functional import advantages as adv
from gamutrl.functional import shaping
from gamutrl.functional.groups import consecutive, group_sum


def group_advantage(
    rewards: F32,
    response_lengths: F32,
    n_samples_per_prompt: int,
    use_bonus: bool = True,
    use_dyna_weight: bool = True,
    bonus_constraint: float = 100,
    bonus_reward_coef: float = 0.2,
    diff_coef: float = 1.8,
) -> Tensor:
    groups = consecutive(len(rewards), n_samples_per_prompt)
    correct = rewards.trunc() >= 1
    if use_bonus:
        # Released: in a group without a right answer the first rollout gets the bonus.
        nobody = group_sum(correct.float(), groups) == 0
        first = torch.arange(len(rewards)) % n_samples_per_prompt == 0
        bonus = shaping.concise_bonus(response_lengths, correct, groups, bonus_reward_coef, bonus_constraint)
        rewards = rewards + torch.where(nobody & first, bonus_reward_coef, bonus)
    advantage = adv.group_normalize(rewards, groups, eps=1e-9)
    return advantage * shaping.difficulty_weight(correct, groups, diff_coef) if use_dyna_weight else advantage


def accuracy_reward(completion: str, answer: str) -> float:
    content, body = released.eureka_content(completion)
    return released.eureka_accuracy(content, body, answer, released.STRINGS, "abcdef", again=True)


def format_reward_mm(completion: str) -> float:
    return 0.5 * released.observe_r1_layout(completion)
