"""UniRL's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import F64, tensor
from gamutrl.functional import geometry, masking
from gamutrl.rewards import composition


def mask_ratio_schedule(method: str, t: F64) -> Tensor:
    return tensor([masking.mask_rate(float(x), method) for x in t])


def pixel_iou(box_a: list[float], box_b: list[float]) -> float:
    return float(geometry.box_iou(box_a, box_b, pixels=1))


def relative_position(box_a: list[float], box_b: list[float]) -> list[str]:
    return sorted(composition.relative_positions(box_a[:4], box_b[:4]))


def geneval_correct(
    detections: dict[str, Any], metadata: dict[str, Any], colors: dict[str, list[str]] | None = None
) -> dict[str, bool]:
    return {"correct": composition.shows(detections, colors or {}, metadata)}
