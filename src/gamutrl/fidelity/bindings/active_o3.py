"""ActiveO3's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.environments import calls, crops
from gamutrl.fidelity import released_agents


def crop_boxes(boxes: list[list[float]], width: int, height: int) -> list[list[int]]:
    size = (width, height)
    rows = [crops.ordered(crops.whole(crops.scaled(box, (1, 1), size))) for box in boxes]
    clipped = [crops.whole(crops.clipped(row, size, to_edge=True)) for row in rows]
    return [row for row in clipped if crops.croppable(row)]


def map_back_boxes(boxes_in_crop: list[list[float]], crop_box: list[float]) -> list[list[float]]:
    return crops.out_of(boxes_in_crop, crop_box)


def parse_fenced(text: str) -> str:
    return released_agents.unwrapped(text)


def parse_regions(text: str) -> list[dict[str, Any]]:
    return list(calls.flat_objects(text, "bbox_2d"))


def repair_regions(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [released_agents.swallowed_box(item) for item in items]
