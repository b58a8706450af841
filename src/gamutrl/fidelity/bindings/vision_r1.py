"""Vision-R1's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.fidelity import released
from gamutrl.rewards import objects


def extract_boxes(completion: str) -> list[dict[str, Any]]:
    found = released.vision_r1_boxes(completion)
    return [{"bbox": [int(side) for side in d.box], "category_name": d.label} for d in found]


def dual_format_reward(completion: str, num_instances: int) -> float:
    return float(released.vision_r1_format(completion) == (num_instances > 0))


def precision_reward(
    completion: str,
    solution: list[Any],
    width: int,
    height: int,
    input_width: int,
    input_height: int,
    num_instances: int,
    target_id_map: Any,
    step: int | None,
) -> float:
    steps = (0.0, 1.0) if step is None else (0.5, 0.75) if step < 1500 else (0.75, 0.9)
    true = [{"bbox_2d": box, "label": name} for name, box in solution] if num_instances else []
    frames = (input_width, input_height), (width, height)
    return objects.detection_precision(
        completion, true, *frames, read=released.vision_r1_boxes, steps=steps, surplus=False
    )


def recall_reward(
    completion: str,
    solution: list[Any],
    width: int,
    height: int,
    input_width: int,
    input_height: int,
    num_instances: int,
    target_id_map: Any,
    step: int | None,
) -> float:
    steps = (0.5, 0.5) if step is None or step < 1500 else (0.75, 0.75)
    value_steps = (0.0, 1.0) if step is None else (0.5, 0.75)
    true = [{"bbox_2d": box, "label": name} for name, box in solution] if num_instances else []
    frames = (input_width, input_height), (width, height)
    return objects.detection_recall(
        completion, true, *frames, read=released.vision_r1_boxes, steps=steps, value_steps=value_steps
    )
