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


def split_points(split_points: str | None, split_rounds: int, total_steps: int) -> list[int]:
    named = [int(step) for step in split_points.split(",")] if split_points else None
    return trees.split_steps(total_steps, at=named, rounds=split_rounds)


def edge_pruning(
    sampling_steps: int,
    split_points: str,
    leaf_advantages: list[float],
    depth_pruning: str,
    slide: bool,
    slide_interval: int,
    current_step: int,
    stop_depth: int | None,
    width_mode: int,
    width_ratio: float,
) -> dict[str, Any]:
    splits = [int(step) for step in split_points.split(",")]
    leaves = iter(leaf_advantages)

    def grown(name: str, depth: int) -> tuple[float, list[tuple[str, int, float]]]:
        if depth == sampling_steps:
            return next(leaves), []
        below = [(f"{name}.{i}", grown(f"{name}.{i}", depth + 1)) for i in range(2 if depth in splits else 1)]
        edges = [edge for child, (value, more) in below for edge in [(child, depth + 1, value), *more]]
        return sum(value for _, (value, _) in below) / len(below), edges

    edges = grown("r", 0)[1]
    pruned = [int(depth) for depth in depth_pruning.split(",") if depth]
    if slide:
        stop = splits[-1] if stop_depth is None else stop_depth
        pruned = trees.slid_depths(pruned, current_step // slide_interval, stop)
    branches = [".".join(name.split(".")[: splits[-1] + 2]) for name, _, _ in edges]
    kept = trees.kept_edges(
        torch.tensor([depth for _, depth, _ in edges]),
        torch.tensor([value for _, _, value in edges], dtype=torch.float64),
        torch.tensor([sorted(set(branches)).index(branch) for branch in branches]),
        pruned=pruned,
        wide_after=splits[-1] + 1 if width_mode else None,
        share=width_ratio,
        per_branch=width_mode == 1,
    )
    return {"total": len(edges), "kept": sorted(name for (name, _, _), keep in zip(edges, kept.tolist()) if keep)}
