"""MM-Eureka's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F32, F64
from gamutrl.functional import advantages as adv
from gamutrl.functional import divergences, selection
from gamutrl.functional.groups import consecutive
from gamutrl.rewards import maths, tags


def group_advantage(
    rewards: F32,
    n_samples_per_prompt: int,
    advantage_estimator: str = "group_norm",
    use_adora: bool = False,
    response_lengths: F32 | None = None,
) -> Tensor:
    groups = consecutive(len(rewards), n_samples_per_prompt)
    if advantage_estimator == "rloo":
        advantage = adv.leave_one_out(rewards, groups)
    elif advantage_estimator == "reinforce_baseline":
        advantage = adv.group_normalize(rewards, groups, scale="none")
    else:
        advantage = adv.group_normalize(rewards, groups, eps=1e-9)
    if use_adora and response_lengths is not None:
        advantage = advantage * adv.long_enough(rewards, response_lengths, groups)
    return advantage


def approx_kl(log_probs: F32, log_probs_base: F32, action_mask: F32, kl_estimator: str) -> Tensor:
    kind: Any = kl_estimator
    return divergences.kl_estimate(log_probs, log_probs_base, kind) * action_mask


def online_accuracy_filter(
    accuracy_rewards: F32,
    n_samples_per_prompt: int,
    accuracy_lower_bound: float = 0.1,
    accuracy_upper_bound: float = 0.9,
) -> list[int]:
    groups = consecutive(len(accuracy_rewards), n_samples_per_prompt)
    kept = selection.within(accuracy_rewards, groups, accuracy_lower_bound, accuracy_upper_bound)
    return kept.nonzero().flatten().tolist()


def policy_loss(
    log_probs: F64,
    old_log_probs: F64,
    advantages: F64,
    action_mask: F64,
    use_dapo: bool = False,
    clip_eps: float = 0.2,
) -> Tensor:
    over: Any = "token" if use_dapo else "sequence"
    return compose.grpo_loss(log_probs, advantages, action_mask, old=old_log_probs, low=clip_eps, cap=3, over=over)


def accuracy_reward(completion: str, answer: str) -> float:
    content, body = released.eureka_content(completion)
    return released.eureka_accuracy(content, body, f"${answer}$", maths.Reading(), "abcd")


def format_reward(completion: str) -> float:
    return 0.5 * tags.tag_format(completion, before=True, after=True, once=True, nonempty=True)


def zero_format_reward(completion: str) -> float:
    thought = tags.tag_text(completion, "think", missing="empty")
    return tags.tag_format(completion, once=True) * (len(thought) >= 300)
