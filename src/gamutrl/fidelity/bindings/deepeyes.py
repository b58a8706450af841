"""DeepEyes's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor

from gamutrl.environments import calls, zoom
from gamutrl.fidelity import compose
from gamutrl.fidelity.inputs import F32, F64, Labels
from gamutrl.rewards import judging, maths, tags


def grpo_outcome_advantage(token_level_rewards: F32, response_mask: F32, index: Labels) -> Tensor:
    return compose.outcome(token_level_rewards.sum(1), index, response_mask)


def policy_loss(
    log_prob: F64,
    old_log_prob: F64,
    advantages: F64,
    response_mask: F64,
    cliprange: float,
    cliprange_low: float | None,
    cliprange_high: float | None,
    clip_ratio_c: float,
    loss_agg_mode: str,
) -> dict[str, Tensor]:
    low = cliprange if cliprange_low is None else cliprange_low
    high = cliprange if cliprange_high is None else cliprange_high
    answer = compose.verl_loss(
        log_prob, old_log_prob, advantages, response_mask, low, high, clip_ratio_c, mode=loss_agg_mode
    )
    return {
        "pg_loss": answer["loss"],
        "pg_clipfrac": answer["clipped"],
        "ppo_kl": answer["kl"],
        "pg_clipfrac_lower": answer["capped"],
    }


def _sound(text: str, tail: str, answer: str) -> bool:
    """Every mark balanced, those of answers in the last part, and an answer that is no novel."""
    image = (("<|vision_start|><|image_pad|>", "<|image_pad|><|vision_end|>"),)
    balanced = tags.balanced_marks(text, ("think", *image)) and tags.balanced_marks(tail, ("answer",))
    return balanced and len(answer) < 1000


def _looked(text: str) -> bool:
    return "<|vision_start|><|image_pad|>" in text


def perception_reward(predict_str: str, ground_truth: str, judge_response: str) -> float:
    answer = calls.after_last(predict_str, "answer")
    right = judging.verdict(judge_response) and len(answer) < 1000
    sound = _sound(predict_str, predict_str.rpartition("</think>")[2], answer)
    return 0.8 * right + 0.2 * (sound - 1) + 1.2 * (right and _looked(predict_str))


def common_reasoning_reward(predict_str: str, ground_truth: str, judge_response: str) -> float:
    tail = predict_str.rpartition("</think>")[2]
    answer = tags.tag_text(tail, missing="empty")
    given = 0 < len(answer) < 1000
    right = given and bool(judging.true_or_false(judge_response))
    return (
        0.8 * right + 0.2 * ((given and _sound(predict_str, tail, answer)) - 1) + 1.2 * (right and _looked(predict_str))
    )


def math_reward(predict_str: str, ground_truth: str, judge_response: str) -> float:
    given = list(tags.tag_texts(predict_str.rpartition("</think>")[2], ("\\boxed{", "}")))
    sound = len(given) == 1 and tags.balanced_marks(predict_str, ("think",))
    right = bool(given) and bool(
        maths.math_equal(f"\\boxed{{{given[-1]}}}", ground_truth) or judging.true_or_false(judge_response)
    )
    return 1.2 * right + 0.4 * (sound - 1)


def zoom_bbox(bbox: list[float], width: int, height: int) -> list[float] | None:
    return zoom.zoom_box(bbox, (width, height))


def tool_step(action_string: str, width: int, height: int) -> dict[str, Any]:
    kind, call = zoom.asked(action_string)
    seen = zoom.look(Image.new("RGB", (width, height)), call) if call else ""
    if isinstance(seen, Image.Image):
        return {"kind": "image", "done": False, "reward": 0.0, "status": "success", "size": list(seen.size)}
    status = "failed" if kind == "call" else ""
    done = kind in ("answer", "nothing")
    return {"kind": "text", "done": done, "reward": 0.0, "status": status, "empty": done}
