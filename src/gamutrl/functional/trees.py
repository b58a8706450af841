"""Trees of rollouts: what a branch is worth, and against which other branches.

A tree is its nodes' parents, `parent_N` (-1 for the root), every parent before its children. Leaves have a reward,
other nodes NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gamutrl.functional.advantages import group_normalize
from gamutrl.functional.groups import group_variance


def depths(parent_N: Tensor) -> Tensor:
    """How many edges lie between each node and the root, int64 `[N]`."""
    depth = [0] * len(parent_N)
    for n, parent in enumerate(parent_N.tolist()):
        depth[n] = depth[parent] + 1 if parent >= 0 else 0
    return torch.tensor(depth)


def node_rewards(parent_N: Tensor, reward_N: Tensor, logp_N: Tensor | None = None) -> Tensor:
    """Each node's reward, `[N]`: the mean over the leaves below it (BranchGRPO, arXiv 2509.06040).

    logp_N: of each edge from its parent; children then count by the softmax of theirs, level by level.
    """
    parents = parent_N.tolist()
    if logp_N is None:
        total, leaves = reward_N.nan_to_num(0.0), (~reward_N.isnan()).to(reward_N.dtype)
        for n in reversed(range(len(parents))):
            if parents[n] >= 0:
                total[parents[n]] += total[n]
                leaves[parents[n]] += leaves[n]
        return total / leaves
    value_N = reward_N.clone()
    for n in reversed(range(len(parents))):
        children = (parent_N == n).nonzero().flatten()
        if len(children):
            value_N[n] = (logp_N[children].softmax(0) * value_N[children]).sum()
    return value_N


def depth_advantages(parent_N: Tensor, reward_N: Tensor, *, eps: float = 1e-8, least: float = 1e-6) -> Tensor:
    """Each node's reward against those of its depth, over their deviation, `[N]`; 0 where that is below `least`."""
    depth_N = depths(parent_N)
    spread_N = group_variance(reward_N, depth_N).sqrt()
    return torch.where(spread_N < least, 0.0, group_normalize(reward_N, depth_N, eps=eps))


def split_steps(steps: int, *, at: Sequence[int] | None = None, rounds: int = 0) -> list[int]:
    """The denoising steps at which every node splits: those named, kept within the steps, or so many evenly spaced."""
    if at:
        return sorted(min(max(step, 0), steps - 1) for step in at)
    return [i * (steps // rounds) for i in range(rounds)]


def slid_depths(pruned: Sequence[int], slides: int, stop: int) -> list[int]:
    """The pruned depths, moved up by so many slides until the first of them reaches `stop`."""
    shift = min(slides, pruned[0] - stop) if pruned else 0
    return [depth - shift for depth in pruned]


def kept_edges(
    depth_E: Tensor,
    advantage_E: Tensor,
    branch_E: Tensor,
    *,
    pruned: Sequence[int] = (),
    wide_after: int | None = None,
    share: float = 0.5,
    per_branch: bool = True,
) -> Tensor:
    """Which of a tree's edges are trained on, bool `[E]`: none of the pruned depths, and a share of those deep down.

    depth_E: of an edge's lower node. branch_E: what is the same number below one last split. wide_after: of the edges
    deeper than this, where branches split no more, only a share stays: the best of each branch, or (not `per_branch`)
    the best and the worst of all. BranchGRPO (arXiv 2509.06040): depth and width pruning.
    """
    kept_E = ~torch.isin(depth_E, torch.tensor(list(pruned), dtype=depth_E.dtype))
    if wide_after is None:
        return kept_E
    wide = (kept_E & (depth_E > wide_after)).nonzero().flatten()
    if per_branch:
        kept_E[wide] = best_per_branch(advantage_E[wide], branch_E[wide], share)
    else:
        kept_E[wide] = best_and_worst(advantage_E[wide], share)
    return kept_E


def best_per_branch(advantage_E: Tensor, branch_E: Tensor, share: float) -> Tensor:
    """Whether an edge is among the best `share` (at least one) of its branch, bool `[E]`; the first of equal ones."""
    kept_E = torch.zeros(len(advantage_E), dtype=torch.bool)
    for branch in branch_E.unique():
        edges = (branch_E == branch).nonzero().flatten()
        best = advantage_E[edges].argsort(descending=True, stable=True)
        kept_E[edges[best[: max(1, int(len(edges) * share))]]] = True
    return kept_E


def best_and_worst(advantage_E: Tensor, share: float) -> Tensor:
    """Whether an edge is among the best or the worst, half of `share` each and at least one of each, bool `[E]`."""
    kept_E = torch.zeros(len(advantage_E), dtype=torch.bool)
    order_E = advantage_E.argsort(descending=True, stable=True)
    count = max(2, int(len(order_E) * share))
    kept_E[order_E[: count // 2]] = True
    kept_E[order_E[max(0, len(order_E) - (count - count // 2)) :]] = True
    return kept_E
