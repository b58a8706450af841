"""BranchGRPO's released code, answered by ours."""

from __future__ import annotations

from torch import Tensor

from gamutrl.fidelity.inputs import F64
from gamutrl.functional import (
    sampling,
)


def split_step(
    x: F64,
    v: F64,
    sigmas: F64,
    index: int,
    eta: float,
    noise: F64,
    noise_scale: float,
    num_splits: int,
    prev_sample: F64,
) -> dict[str, Tensor]:
    children = num_splits if prev_sample is None else 1
    x, v = (value.repeat(children, *[1] * (x.dim() - 1)) for value in (x, v))
    step = sampling.flow_sde(x, v, sigmas[index], sigmas[index + 1], eta, "constant")
    if prev_sample is None:
        prev_sample = step.draw(noise.flatten(0, 1) * (noise_scale if num_splits > 1 else 1))
    logp = sampling.gaussian_logp(prev_sample, step.mean, step.std)
    return {"prev_sample": prev_sample, "pred_x0": step.clean, "log_prob": logp}
