"""Temporal-RLT's released code, answered by ours."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F32, Labels
from gamutrl.functional import geometry
from gamutrl.functional.weights import masked_mean
from gamutrl.rewards import answers, grading, spans, tags


def grpo_outcome_advantage(rewards: F32, group_index: Labels, mask: F32) -> Tensor:
    return compose.outcome(rewards, group_index, mask)


def policy_and_kl_loss(
    log_prob: F32,
    old_log_prob: F32,
    ref_log_prob: F32,
    advantages: F32,
    mask: F32,
    cliprange: float,
    kl_coef: float,
) -> dict[str, Tensor]:
    answer = compose.verl_loss(log_prob, old_log_prob, advantages, mask, cliprange)
    kl = masked_mean(compose.verl_kl(log_prob, ref_log_prob, "low_var_kl"), mask)
    return {
        "pg_loss": answer["loss"],
        "clipfrac": answer["clipped"],
        "ppo_kl": answer["kl"],
        "kl_loss": kl,
        "total": answer["loss"] + kl_coef * kl,
    }


TIMES = r'\s*+\{\s*+"start_time"\s*+:\s*+"[\d.]++"\s*+,\s*+"end_time"\s*+:\s*+"[\d.]++"\s*+\}\s*+'


def temporal_iou(A: list[float], B: list[float]) -> float:
    return geometry.span_iou(A, B, denominator="hull")


def tvg_format_reward(predict_str: str) -> float:
    return float(tags.ends_with_answer(predict_str, TIMES))


def tvg_compute_score(predict_str: str, ground_truth: list[float], video_length: float) -> float:
    def read(text: str) -> list[spans.Span]:
        return [(start / video_length, end / video_length) for start, end in released.temporal_rlt_times(text)]

    iou = spans.span_score(predict_str, ground_truth, read=read, denominator="hull", ordered=False, zero_length=0.0)
    return 0.5 * iou + 0.5 * tvg_format_reward(predict_str)


def r1v_compute_score(predict_str: str, ground_truth: str) -> float:
    right = partial(answers.accuracy, compare=grading.same_answer, missing="whole", multiline=False)
    return 0.5 * right(predict_str, ground_truth) + 0.5 * tags.tag_format(predict_str)
