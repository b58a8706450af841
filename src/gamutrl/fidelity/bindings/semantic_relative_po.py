"""Semantic-Relative-PO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import F64, Leaf64, gradient
from gamutrl.functional import sampling
from gamutrl.rewards import alignment


def time_shift(shift: float, t: float) -> Any:
    return sampling.shift_time(t, shift)


REALISTIC = ("Natural-lighting", "Detail", "Detailed", "Real")
STYLISED = ("Concept art", "Painting", "Anime", "Flat", "Oil")


def control_words(caption: str, step: int) -> dict[str, str]:
    words = {"positive": REALISTIC, "negative": STYLISED}
    return {sign: f"{chosen[step % len(chosen)]}. {caption}" for sign, chosen in words.items()}


def semantic_relative_reward(
    head: str, image_feat: Leaf64, pos_feat: F64, neg_feat: F64, k: float, logit_scale: float
) -> dict[str, Tensor]:
    scale = 1.0 if head == "hps" else logit_scale / 20
    score = scale * alignment.relative_preference(image_feat, pos_feat, neg_feat, k)
    return {"score": score, "grad_image_feat": gradient(score.sum(), image_feat)}
