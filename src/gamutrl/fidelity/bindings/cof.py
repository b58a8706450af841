"""Chain-of-Focus's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.environments import crops
from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import Labels
from gamutrl.rewards import answers, judging, maths, tags, zooming

PROMPT = (
    "Think in the mind first, and then decide whether to call tools one or more times OR provide final answer. "
    "Format strictly as: <think>...</think> <tool_call>...</tool_call> <tool_call>...</tool_call> "
    "(if any tools needed) OR <answer>...</answer> (if no tools needed)."
)


def format_error(predict_str: str, text_count: int) -> bool:
    words = len(tags.tag_text(predict_str, which="last", missing="empty").split())
    return words > text_count or not tags.balanced_marks(predict_str, ("think", "answer"), required=True)


def f1_accuracy_alternative(answer_str: str, ground_truth: str) -> float:
    contained = len(answer_str) > 1 and answers.contains(answer_str, ground_truth, either=True, ignore="")
    return float(contained or answers.word_f1(answer_str, ground_truth) >= 0.5)


def enlarge_bbox(bbox_2d: list[float], width: int, height: int, enlarge_factor: float) -> list[int]:
    return crops.whole(crops.clipped(crops.enlarged(bbox_2d, enlarge_factor), (width, height)))


def zoom_bbox_check(bbox: list[float], width: int, height: int) -> dict[str, Any]:
    fault = crops.fault(bbox, (width, height))
    fine = f"Bounding box format is correct: {bbox} in image range [0,0,{width},{height}]"
    return {"valid": fault is None, "message": f"Invalid bounding box: {fault}" if fault else fine}


def zoomin_reward(solution_str: str, ground_truth: str, data_source: str, judge_response: str) -> dict[str, float]:
    answer = tags.tag_text(solution_str, which="last", missing="empty")
    if data_source == "thinklite_eureka":
        right = bool(answer) and bool(maths.math_equal(answer, ground_truth) or judging.true_or_false(judge_response))
    else:
        solution_str, right = solution_str.replace(PROMPT, ""), judging.verdict(judge_response)
    sound = not format_error(solution_str, 1000)
    return {"score": 0.9 * right + 0.1 * sound, "format_score": float(sound), "acc_score": float(right)}


def adaptive_group_advantage(
    scores: list[float], tool_used: list[bool], index: Labels, T: int, norm_by_std: bool
) -> Tensor:
    replaced = torch.tensor(scores)
    for group in index.unique():
        members = (index == group).nonzero().flatten().tolist()
        if len(members) > 1:
            ranked = zooming.adaptive_scores([scores[i] for i in members], [tool_used[i] for i in members])
            replaced[members] = torch.tensor(ranked)
    return compose.outcome(replaced, index, scale="group" if norm_by_std else "none")
