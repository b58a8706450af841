"""Pixel-Reasoner's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.environments import calls, crops
from gamutrl.fidelity import compose, released_agents
from gamutrl.fidelity.inputs import F64, I64
from gamutrl.functional.groups import consecutive, group_mean
from gamutrl.rewards import parsing, tools


def group_advantage(rewards: F64, nsample: int) -> Tensor:
    return compose.grouped(rewards, nsample, scale="none")


def policy_loss(log_probs: F64, old_log_probs: F64, advantages: F64, action_mask: F64) -> Tensor:
    return compose.grpo_loss(
        log_probs, advantages, action_mask, old=old_log_probs, low=0.2, high=0.35, over="token", constant=200
    )


def parse_last_tool(output_text: str) -> dict[str, Any]:
    call = parsing.loads(calls.after_last(output_text))
    return {"ok": False, "error": "JSONDecodeError"} if call is None else {"ok": True, "call": call}


def crop_image_normalized(bbox_2d: list[float], width: int, height: int) -> dict[str, Any]:
    shares = crops.clipped(crops.padded(crops.as_fractions(bbox_2d, (width, height)), 0.1), (1, 1))
    x1, y1, x2, y2 = crops.whole(crops.scaled(shares, (1, 1), (width, height)), nearest=True)
    if crops.croppable((x1, y1, x2, y2), longer_than=28):
        return {"size": [x2 - x1, y2 - y1]}
    return {"error": f"Cropped image is too small: {x2 - x1}x{y2 - y1}"}


def curiosity_shaped_rewards(
    correctness: F64, n_calls: I64, is_video: list[bool], final_error: list[bool], nsample: int
) -> dict[str, Tensor]:
    group = consecutive(len(correctness), nsample)
    unrepaired = torch.tensor(final_error[:nsample]).repeat(len(correctness) // nsample)  # Released: the first group's.
    right = torch.where((correctness > 0.5) & unrepaired, 0.0, correctness)
    curiosity = tools.curiosity_bonus(n_calls, group, divisor=2 - 0.5 * torch.tensor(is_video).double())
    penalty = tools.call_penalty(n_calls)
    alone = ((correctness > 0.5) & (n_calls == 0)).double()
    return {
        "shaped_rewards": right + curiosity + penalty,
        "curiosity": curiosity,
        "penalty": penalty,
        "uniform": (group_mean((right > 0.5).double(), group) % 1 == 0).double(),
        "difficulty": (group_mean(correctness, group) * 4).round(),
        "solvable_without_tool": (group_mean(alone, group) > 0).double(),
    }


def rule_reward(sol: str, gt: str | list[str]) -> dict[str, Any]:
    ends = "<|im_end|>" in sol
    return {
        "valid": ends,
        "norepeat": None,
        "usefmt": None,
        "error_info": None if ends else "No eos.",
        "res": released_agents.pixel_reasoner_result(sol, gt),
    }
