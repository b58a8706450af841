"""RLRF's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import numpy as np

from gamutrl.rewards import pictures, tags


def _picture(spec: dict[str, Any]) -> np.ndarray:
    image = np.full((spec["height"], spec["width"], 3), 255, np.uint8)
    for x0, y0, x1, y1, color in spec["rects"]:
        image[y0:y1, x0:x1] = color
    return image


def l2_metric(target: dict[str, Any], rendered: dict[str, Any], masked: bool) -> float:
    return pictures.squared_difference(_picture(target), _picture(rendered), foreground=masked)


def ssim_metric(target: dict[str, Any], rendered: dict[str, Any]) -> float:
    return pictures.structural_similarity(_picture(target), _picture(rendered))


def unclosed_tags(svg_content: str) -> list[str]:
    return tags.unclosed(svg_content)
