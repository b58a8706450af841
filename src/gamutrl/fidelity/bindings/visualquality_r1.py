"""VisualQuality-R1's released code, answered by ours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gamutrl.fidelity import released
from gamutrl.functional.groups import consecutive
from gamutrl.rewards import ranking, tags


def extract_first_number(model_answer: str) -> float | None:
    return released.first_number(model_answer)


def format_reward(completion: str) -> float:
    return tags.tag_format(completion)


def fidelity_reward(pred1: float, pred2: float, var1: float, var2: float, gt: float) -> float:
    values = [torch.tensor(float(value), dtype=torch.float64) for value in (pred1, pred2, var1 + var2, gt)]
    return float(ranking.fidelity(ranking.preference_probability(*values[:3]), values[3]))


def rank_accuracy_reward(contents: list[str], mos: list[float], num_generations: int) -> Tensor:
    said = [released.first_number(tags.tag_text(text, which="last", missing="whole")) for text in contents]
    scores = torch.tensor([math.nan if score is None else score for score in said])
    groups = consecutive(len(contents), num_generations)
    return ranking.ranking_fidelity(scores, torch.tensor([float(score) for score in mos])[groups], groups)
