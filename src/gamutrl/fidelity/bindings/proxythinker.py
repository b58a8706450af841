"""ProxyThinker's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity.inputs import F64
from gamutrl.functional import probabilities


def combine_logits(base_logits: F64, positive_logits: F64, negative_logits: F64, alpha: float) -> dict[str, Tensor]:
    logits = probabilities.steered(base_logits, positive_logits, negative_logits, alpha)
    return {"logits": logits, "argmax": logits.argmax(-1)}


def top_k_top_p_filtering(logits: F64, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    return probabilities.truncated(logits, top_k, top_p)
