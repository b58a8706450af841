"""Omni-R1's released code, answered by ours."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from gamutrl.environments import calls, crops
from gamutrl.functional import geometry
from gamutrl.rewards import grounding, parsing, tags, tracks

iou = partial(geometry.box_iou, pixels=1)


def framewise_hungarian_iou(gt_boxes: Any, pred_boxes: Any) -> dict[str, Any]:
    def inside(true: Any, found: Any) -> Any:  # Released: an object whose box begins at the left edge is never found.
        return torch.where(true[:, :1] > 0, iou(true, found), 0.0)

    matched = tracks.matched_frames(pred_boxes, gt_boxes, overlap=inside)
    return {"iou": matched.iou_NF, "l1": matched.distance_NF, "permutation": matched.taken_FN}


def combined_vos_reward(components: Any, alpha_a: float, alpha_k: float, alpha_g: float, alpha_k_ratio: float) -> float:
    if not isinstance(components, dict):
        return float(components)
    weights = {
        "cumulated_reward": 1.0,
        "total_frame_reward": alpha_k,
        "total_overlap_reward": alpha_k,
        "avg_ratio": alpha_k_ratio,
        "avg_iou": alpha_a,
        "object_num_mismatch": 1.0,
        "sam_iou": alpha_g,
    }
    return sum(weight * components.get(name, 0.0) for name, weight in weights.items())


def refavs_system2_iou_reward(
    system2_reply: str, gt_box: list[float], img_ori_hw: list[int], img_resized_hw: list[int]
) -> float:
    found = next(calls.flat_objects(system2_reply, "bbox_2d"), {})
    box = parsing.numbers(found.get("bbox_2d"), 4) or (-1.0,) * 4
    true = gt_box if min(gt_box) < 0 else crops.scaled(gt_box, img_ori_hw[::-1], img_resized_hw[::-1])
    return float(iou(box, true))


def keyframe_quality_reward(completion: str, visible: list[list[float]]) -> dict[str, Any]:
    count, rate = len(visible[0]), 2.0
    found = tracks.segments_in(tags.tag_text(completion, missing="empty"), count / rate)
    value = 0.2 * (found.items + found.complete + len(found.spans))
    if not found.spans:
        return {"cumulated_reward": value / max(found.items, 1), "parsed": False}
    shown = [(list(tracks.frames_of(span, rate, count)), what) for span, what in found.spans]
    value += sum(tracks.coverage(frames, visible) for frames, _ in shown)
    first: dict[int, str] = {}
    for frames, what in shown:
        first |= {frame: what for frame in frames if frame not in first}
    repeated = sum(len(frames) for frames, _ in shown) - len(first)
    return {
        "cumulated_reward": value / found.items,
        "parsed": True,
        "total_frame_reward": tracks.frame_count_reward(len(first)),
        "total_overlap_reward": -0.2 * sum(len(frames) - 1 for frames, _ in shown) - 0.5 * repeated,
        "grounding_indices": list(first)[:4],
        "descriptions": list(first.values())[:4],
    }


def image_segmentation_reward(answer: str, gt: str, resized_hw: list[int], image_wh: list[int]) -> float:
    found = parsing.json_in(answer, repair=False)
    if not isinstance(found, dict):
        return 0.0
    box = parsing.numbers(found.get("bbox_2d", found.get("bbox")), 4)
    points = [parsing.numbers(found.get(key), 2) for key in ("points_1", "points_2")]
    corners = parsing.boxes_in(tags.tag_text(gt, "box", missing="empty"))
    marks = parsing.boxes_in(tags.tag_text(gt, "points", missing="empty"))
    true, true_points = (crops.scaled(rows[0].box, image_wh, resized_hw[::-1]) for rows in (corners, marks))
    value = float(parsing.loads(answer) == found and set(found) == {"bbox_2d", "points_1", "points_2"})
    if box is not None:
        value += grounding.box_nearness(box, true, overlap=iou)
    if None not in points:
        value += grounding.points_nearness(points, [true_points[:2], true_points[2:]])
    return value
