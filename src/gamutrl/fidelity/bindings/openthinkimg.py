"""OpenThinkIMG's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.environments import calls
from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, I64
from gamutrl.functional import probabilities
from gamutrl.recipes import openthinkimg


def group_advantage(rewards: F32, num_generations: int) -> Tensor:
    return compose.grouped(rewards, num_generations)


def completion_mask(completion_ids: I64, eos: int) -> Tensor:
    return probabilities.mask_until(completion_ids, eos).long()


def detect_tool_call(text: str) -> bool:
    return '"actions"' in (calls.first_group(text) or "")


def parse_tool_call(text: str) -> list[dict[str, Any]] | None:
    found = calls.action_list(text)
    return [{"API_name": call.name, "API_params": call.arguments} for call in found] if found else None


def format_reward(turns: list[str]) -> float:
    return openthinkimg.well_formed(turns)


def format_reward_single(text: str) -> float:
    return float("Terminate" in text)


def accuracy_reward(turns: list[str], solution: str) -> float:
    return openthinkimg.anywhere(turns, solution)
