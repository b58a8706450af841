"""Semantic-Relative-PO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from gamutrl.functional import (
    sampling,
)


def time_shift(shift: float, t: float) -> Any:
    return sampling.shift_time(t, shift)
