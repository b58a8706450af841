"""HermesFlow's released code, answered by ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gamutrl.fidelity.inputs import tensor
from gamutrl.functional import (
    preference,
    windows,
)


def pair_dpo_loss(
    win_t2i: float,
    lose_t2i: float,
    ref_win_t2i: float,
    ref_lose_t2i: float,
    win_mmu: float,
    lose_mmu: float,
    ref_win_mmu: float,
    ref_lose_mmu: float,
    beta: float,
    t2i_coeff: float,
    mmu_coeff: float,
) -> dict[str, Tensor]:
    image = preference.dpo(tensor(win_t2i - ref_win_t2i), tensor(lose_t2i - ref_lose_t2i), beta)
    caption = preference.dpo(tensor(win_mmu - ref_win_mmu), tensor(lose_mmu - ref_lose_mmu), beta)
    return {"loss": t2i_coeff * image + mmu_coeff * caption, "loss_t2i": image, "loss_mmu": caption}


def mask_count(timestep: float, seq_len: int, min_masking_rate: float) -> dict[str, Any]:
    rate = windows.mask_rate(timestep, "cosine", floor=min_masking_rate)
    return {"mask_prob": rate, "n_masked": max(1, round(seq_len * rate))}
