"""GRIT's released code, answered by ours."""

from __future__ import annotations

import torch
from torch import Tensor

from gamutrl.fidelity import compose, released_agents
from gamutrl.fidelity.inputs import F32
from gamutrl.rewards import answers, judging, repetition, rethinking


def group_advantage(rewards_per_func: F32, idx_gpt_reward: int, num_generations: int) -> dict[str, Tensor]:
    judged = torch.arange(rewards_per_func.shape[1]) == idx_gpt_reward
    rewards = torch.where(judged, (rewards_per_func > 0).float(), rewards_per_func).sum(1)
    return {"rewards": rewards, "advantages": compose.grouped(rewards, num_generations)}


def answer_format_reward(completion: str) -> float:
    return rethinking.answer_mark(completion)


def bleu_reward(completion: str, gt_answer: str) -> float:
    return 0.1 * answers.bleu_1(completion.partition("<answer>")[2], gt_answer)


def grounded_region_reward(completion: str, gt_answer: str, dataset: str) -> float:
    return rethinking.grounded_thought(completion, gt_answer, dataset == "tallyqa")


def judge_score_reward(completion: str, gt_answer: str, judge_response: str) -> float:
    return (judging.grade_after(judge_response) or 0.0) if "<answer>" in completion else 0.0


def repetition_reward(completion: str, completion_ids: list[int]) -> float:
    ids = completion_ids[: completion_ids.index(151643)] if 151643 in completion_ids else completion_ids
    return repetition.unrepeated(completion, ids)


def think_rethink_format_reward(completion: str) -> float:
    return released_agents.grit_tags(completion)
