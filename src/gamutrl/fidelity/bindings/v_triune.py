"""V-Triune's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity import compose, released
from gamutrl.fidelity.inputs import F32, Leaf, gradient
from gamutrl.functional import geometry, matching
from gamutrl.rewards import boxes, combine, maths, parsing, tags


def ppo_clip_high_loss(
    log_prob: Leaf,
    old_log_prob: F32,
    advantages: F32,
    response_mask: F32,
    dual_clip: bool,
    loss_agg_mode: str,
) -> dict[str, Tensor]:
    cap = 3.0 if dual_clip else None
    answer = compose.verl_loss(log_prob, old_log_prob, advantages, response_mask, 0.2, 0.28, cap, mode=loss_agg_mode)
    return {
        "loss": answer["loss"],
        "clipfrac": answer["clipped"],
        "clipfrac_lower": answer["capped" if dual_clip else "clipped"],
        "grad_log_prob": gradient(answer["loss"], log_prob),
    }


MARKS = ("<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>")
THRESHOLD = combine.by_progress([(0.1, 0.85), (0.25, 0.95), (1.0, 0.99)])
BOXED = maths.Reading(kinds=("latex",), unanchored=False, boxed_priority=0, first_match=True)
FIRST = maths.Reading(first_match=True)


def mathverify_format(predict_str: str) -> float:
    return tags.exactly_once(predict_str, MARKS)


def mathverify_accuracy(predict_str: str, solution: str) -> float:
    return float(bool(maths.math_equal(predict_str.lower(), solution.lower(), read=BOXED, read_gold=FIRST)))


def final_reward(
    accuracy_score: float, format_score: float, accuracy_ratio: float | None, format_ratio: float | None
) -> float:
    weights = (1.0 if accuracy_ratio is None else accuracy_ratio, 0.1 if format_ratio is None else format_ratio)
    return combine.weighted_mean([(accuracy_score, weights[0]), (format_score, weights[1])])


def detection_format(predict_str: str) -> float:
    marked = "\n<answer>\n" in predict_str and predict_str.count("\n</answer>") == 1
    return float(marked and bool(released.v_triune_boxes(predict_str)))


def greedy_match_label_first(predict_bbox: Any, answer_bbox: Any, iou_threshold: float) -> list[dict[str, Any]]:
    found, true = parsing.detections(predict_bbox), parsing.detections(answer_bbox)
    iou = geometry.box_iou([d.box for d in found], [d.box for d in true])
    pairs = matching.by_truth(iou, (iou >= iou_threshold) & boxes.same_label(found, true)).tolist()
    in_order = sorted(pairs, key=lambda pair: pair[1])
    return [{"pred_idx": n, "gt_idx": m, "iou": float(iou[n, m])} for n, m in in_order]


def detection_accuracy_dynamic_iou(
    predict_str: str, solution: str, step: int, total_steps: int, det_reward_ratio: dict[str, float]
) -> dict[str, float]:
    found, true = released.v_triune_boxes(predict_str), released.v_triune_boxes(solution)
    threshold, share = THRESHOLD(step / total_steps), det_reward_ratio.get("iou_completeness", 0.0)
    label_first = boxes.detection_balance(
        predict_str,
        [{"bbox_2d": d.box, "label": d.label} for d in true],
        read=lambda text: found or None,
        at_least=threshold,
        weights=(1 - share, 0.0, share),
        labels_first=True,
    )
    made, earned = released.v_triune_iou_first(found, true, threshold) if found and true else (0, 0.0)
    complete = (made / len(true) + made / len(found)) / 2 if found and true else 0.0
    iou_first = (1 - share) * earned / max(len(true), 1) + share * complete
    penalty = boxes.size_factor(len(found), len(true)) if found and true else 0.0
    ratios = [det_reward_ratio.get(name, 0.0) for name in ("iou_max_iou_first", "iou_max_label_first")]
    weights = [ratio if 0 <= ratio <= 1 else 0.0 for ratio in ratios]
    return {
        "final_score": penalty * combine.weighted_mean(list(zip((iou_first, label_first), weights))),
        "size_penalty": penalty,
        "pure_iou_score_max_label": label_first,
        "pure_iou_score_max_iou": iou_first,
    }
