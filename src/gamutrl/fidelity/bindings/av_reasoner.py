"""AV-Reasoner's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.functional import geometry
from gamutrl.rewards import answers, named, parsing, tags


def _items(text: str) -> list[Any]:
    value = parsing.loads(tags.tag_text(text, missing="whole"))
    return value if isinstance(value, list) else []


def _detections(items: list[Any]) -> list[parsing.Detection]:
    found = []
    for item in items:
        corners = item.get("coordinates") if isinstance(item, dict) else None
        corners = corners if isinstance(corners, list) else []
        box = parsing.numbers([side for corner in corners if isinstance(corner, list) for side in corner], 4)
        found += [] if box is None else [parsing.Detection(tuple(map(int, box)), item.get("name"))]  # type: ignore[arg-type]
    return found


def mcq_reward(completion: str, answer: str) -> float:
    return 10 * answers.accuracy(completion, answer, compare=lambda given, truth: float(given == truth))


def count_reward(completion: str, answer: str) -> float:
    return 10 * answers.accuracy(completion, answer, compare=answers.count_accuracy)


def arig_iou_reward(completion: str, solution: list[Any]) -> float:
    return 10 * named.named_boxes_score(_detections(_items(completion)), _detections(solution))


def vtg_iou_reward(completion: str, solution: list[Any]) -> float:
    return 10 * named.named_spans_score(named.events_in(_items(completion)), named.events_in(solution))


def format_reward(completion: str, task_kind: str) -> float:
    laid_out = tags.tag_format(completion, after=True)
    if task_kind == "qa_or_count" or not laid_out:
        return laid_out
    keys = named.EVENT_KEYS if task_kind == "localisation_temporal" else ("name", "coordinates")
    value = parsing.loads(tags.tag_text(completion, missing="whole"))
    if not value:
        return float(value == [] and task_kind == "localisation_spatial")
    return sum(isinstance(item, dict) and item.keys() >= set(keys) for item in value) / len(value)


def multi_segment_tiou(pred: list[Any], gt: list[Any]) -> float:
    return geometry.span_set_iou(pred, gt)


def white_box_counting_score(pred_clusters: list[Any], gt_clusters: list[Any], iou_type: str) -> float:
    def in_time(said: list[Any], asked: list[Any]) -> float:
        return named.counted(geometry.span_set_iou(said, asked), len(said), len(asked))

    value = in_time if iou_type == "tIoU" else named.counted_in_frames
    table = [[value(said, asked) for asked in gt_clusters] for said in pred_clusters]
    return named.clusters_score(table, len(gt_clusters))
