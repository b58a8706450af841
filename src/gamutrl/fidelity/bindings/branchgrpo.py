"""BranchGRPO's released code, answered by ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gamutrl.fidelity.inputs import F64, tensor
from gamutrl.functional import (
    sampling,
    trees,
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


def tree_advantage(tree: dict[str, Any], prob_weighted: bool) -> dict[str, Any]:
    names, parents, nodes = ["r"], [-1], [tree]
    for n, node in enumerate(nodes):
        for i, child in enumerate(node.get("children", [])):
            names.append(f"{names[n]}.{i}")
            parents.append(n)
            nodes.append(child)
    parent_N = torch.tensor(parents)
    logp_N, leaf_N = (tensor([node.get(key) for node in nodes], torch.float64) for key in ("log_prob", "reward"))
    reward_N = trees.node_rewards(parent_N, leaf_N, logp_N if prob_weighted else None)
    advantage_N, depth_N = trees.depth_advantages(parent_N, reward_N), trees.depths(parent_N)
    columns = zip(depth_N.tolist(), reward_N.tolist(), advantage_N.tolist())
    return {name: dict(zip(("depth", "reward", "advantage"), values)) for name, values in zip(names, columns)}
