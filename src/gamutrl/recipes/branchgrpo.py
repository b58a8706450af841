"""BranchGRPO: Stable and Efficient GRPO with Structured Branching in Diffusion Models (arXiv 2509.06040).

What it changes: a group's rollouts share their beginnings. They grow as a tree from one noise, splitting at chosen
steps; a leaf's reward is averaged upwards, so that every step between has a reward, and is compared with the steps at
its own depth. Each step is trained once, however many leaves stand on it, and some may be pruned: depths near the end,
or the weaker half of each last branch. It should help because shared steps are computed once, and because a step is
credited with what came of it rather than with one outcome.

Source: github.com/Fredreic1849/BranchGRPO at 19fbb9fc. Code and paper differ at the splits: the paper's children draw
noises that are nearly independent (4 parts own, 1 part shared) and have the step's own deviation; the code draws
independent noise four times as wide, which its log-probabilities know nothing of. Ours are independent, at the step's
own deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Row
from gamutrl.functional.trees import (
    depth_advantages,
    kept_edges,
    node_rewards,
    slid_depths,
)
from gamutrl.policies.flow import FlowSampling
from gamutrl.recipes.flow_plain import FLUX, GROUP_SCALE, HPD, paper, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.of_pictures import HPS
from gamutrl.training.defaults import ActionWeights, ClippedSurrogate, sample_groups
from gamutrl.training.optimizer import AdamW


@dataclass(frozen=True)
class Tree:
    """One tree a prompt, every path of it splitting in two at the given steps; a row is an edge, a rollout a leaf."""

    splits: tuple[int, ...] = (0, 3, 6, 9)

    def __call__(self, stage: Any, prompts: Sequence[Prompt], context: Context) -> Batch:
        policy = context.models[stage.trains]
        seed = int(context.generator("rollout").initial_seed())
        state = policy.begin(prompts, 1, stage.sampling, seed=seed)
        while not state.done:
            state, _ = policy.step(state.fork(2) if state.step in self.splits else state)
        leaves = policy.finish(state)
        first: dict[int, Row] = {}
        for r, rollout in enumerate(leaves.rollouts):
            for t, edge in enumerate(rollout.turns):
                if edge.std > 0:
                    first.setdefault(id(edge), Row(r, range(t, t + 1)))
        rows = list(first.values())
        return policy.batch(leaves.prompts, leaves.rollouts, leaves.prompt_R, rows=rows, cache=leaves.cache)

    def rollouts(self, stage: Any) -> int:
        """How many leaves a prompt has."""
        return 2 ** len(self.splits)


def edges(batch: Batch) -> list[list[int]]:
    """The rows that lead to each leaf, in order."""
    number = {id(batch.rollouts[row.rollout].turns[row.turns.start]): n for n, row in enumerate(batch.rows)}
    return [[number[id(turn)] for turn in rollout.turns if id(turn) in number] for rollout in batch.rollouts]


@dataclass(frozen=True)
class ByDepth:
    """Each edge's reward, the mean of the leaves below it, against all edges of its tree at its depth; within ±clip."""

    clip: float = 5.0

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        advantage_N1 = torch.zeros(len(batch.rows), 1)
        paths = edges(batch)
        for group in batch.group_R.unique():
            leaves = (batch.group_R == group).nonzero().flatten().tolist()
            rows = sorted({n for r in leaves for n in paths[r]}, key=lambda n: batch.rows[n].turns.start)
            place = {n: k + 1 for k, n in enumerate(rows)}
            parents, rewards = [-1] + [0] * len(rows), [torch.nan] * (len(rows) + 1)
            for r in leaves:
                for above, below in zip([None, *paths[r]], paths[r]):
                    parents[place[below]] = 0 if above is None else place[above]
                rewards[place[paths[r][-1]]] = float(batch["reward_R"][r])
            parent_N = torch.tensor(parents)
            value_N = depth_advantages(parent_N, node_rewards(parent_N, torch.tensor(rewards)))
            advantage_N1[rows, 0] = value_N[1:]
        return advantage_N1.clamp(-self.clip, self.clip)


@dataclass(frozen=True)
class Pruned:
    """Leaves edges out of the update: whole depths, and the weaker of those that lie beyond the last split.

    depths: those to leave out; they move up by one every `slide` training steps, until the first is at `stop`. width:
    "branch" keeps the best `share` of each last branch, "ends" the best and the worst overall.
    """

    depths: tuple[int, ...] = ()
    slide: int = 30
    stop: int = 9
    width: Literal["none", "branch", "ends"] = "none"
    share: float = 0.5
    splits: tuple[int, ...] = (0, 3, 6, 9)

    def __call__(self, batch: Batch, context: Context) -> Batch:
        depth_N = torch.tensor([row.turns.start + 1 for row in batch.rows])
        keep_N = torch.zeros(len(depth_N), dtype=torch.bool)
        for group in batch.group_R.unique():
            tree = (batch.group_N == group).nonzero().flatten()
            keep_N[tree] = kept_edges(
                depth_N[tree],
                batch["advantage_NT"][tree, 0],
                batch.rollout_N[tree],
                pruned=slid_depths(self.depths, context.step // self.slide, self.stop),
                wide_after=None if self.width == "none" else self.splits[-1] + 1,
                share=self.share,
                per_branch=self.width == "branch",
            )
        return batch.take_rows(keep_N.nonzero().flatten())


TINY = tiny(
    sampling=FlowSampling(steps=10, eta=0.7, kernel="constant", stochastic=tuple(range(9)), trained=tuple(range(5))),
    group_size=1,
    rollout=Tree((0, 2, 4)),
    advantage=ByDepth(),
    objective=ClippedSurrogate(low=1e-3),
    weights=ActionWeights("token"),
)

PAPER = paper(
    FLUX,
    HPD,
    (HPS,),
    sampling=FlowSampling(steps=20, eta=0.3, kernel="constant", stochastic=tuple(range(19)), guidance=3.5),
    measured_by=FlowSampling(steps=50, eta=0.0, guidance=3.5),
    steps=300,
    prompts_per_step=16,
    group_size=1,
    rows_per_forward=12,
    rollout=Tree(),
    advantage=ByDepth(),
    select=Pruned(depths=(15, 16, 17, 18)),
    objective=ClippedSurrogate(low=1e-3),
    weights=ActionWeights("token"),
    optimizer=AdamW(lr=1e-5, weight_decay=1e-4),
)

RECIPE = Recipe(
    title="BranchGRPO: Stable and Efficient GRPO with Structured Branching in Diffusion Models",
    arxiv="2509.06040",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="rollouts of a prompt are a tree: shared beginnings, rewards averaged upwards, advantages by depth, pruning",
    formulas=(
        "r_node = mean of the rewards of the leaves below it",
        "A = (r_node − mean_depth) / (std_depth + 1e-8), within ±5",
        "loss = mean over edges of max(−ρ A, −clip(ρ, 1 ± 1e-3) A)",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim(
        "gold on held-out prompts",
        baseline="branchgrpo/ablation, as many leaves without a tree",
        budget="denoiser_calls",
    ),
    variants={"tiny/ablation": with_stage(TINY, rollout=sample_groups, group_size=8, advantage=GROUP_SCALE)},
    assumptions={
        "tiny.rollout": "splits at steps 0, 2 and 4 of 10: eight leaves",
        "rollout.noise": "children of a split draw independent noise, the limit of the paper's mixture of 4 to 1",
        "paper.select": "the script's example of pruned depths",
    },
)
