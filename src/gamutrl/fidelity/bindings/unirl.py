"""UniRL's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity.inputs import F64, tensor
from gamutrl.functional import (
    windows,
)


def mask_ratio_schedule(method: str, t: F64) -> Tensor:
    return tensor([windows.mask_rate(float(x), method) for x in t])
