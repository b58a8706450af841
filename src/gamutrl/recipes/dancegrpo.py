"""DanceGRPO: Unleashing GRPO on Visual Generation (arXiv 2505.07818).

What it changes: one form of GRPO for diffusion and flows, pictures and clips. All rollouts of a prompt start from the
same noise, so that they differ by what the steps decided and not by where they began; the SDE's noise level is
constant; a random share of each rollout's steps is trained; every reward has a head of its own, normalised in its group
and clipped apart. It should help because a reward cannot be hacked through the first noise, because fewer steps cost
less, and because no head drowns another. No KL, no reference.

Source: github.com/XueZeyue/DanceGRPO at 15cc71d5. For clips, the best and the worst few of a group are trained, chosen
by the weighted sum of the heads (`select.best`); their advantages are not computed anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.functional.advantages import group_normalize
from gamutrl.functional.objectives import clipped_surrogate
from gamutrl.functional.ratios import log_ratio
from gamutrl.functional.selection import extremes
from gamutrl.policies.flow import FlowSampling
from gamutrl.recipes.flow_plain import FLUX, HPD, paper, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.blobs import CLEAN, MODE
from gamutrl.rewards.of_pictures import HPS
from gamutrl.training.defaults import old_of
from gamutrl.training.flow import SomeSteps
from gamutrl.training.optimizer import AdamW


def heads(batch: Batch, clip: float = 5.0) -> Tensor:
    """Each reward against its group, over its unbiased deviation, `[R, K]`; 0 where it does not apply."""
    columns = batch["reward_RK"].unbind(1)
    return torch.stack([group_normalize(reward_R, batch.group_R, eps=1e-8, clip=clip) for reward_R in columns], 1)


def summed_heads(batch: Batch, context: Context) -> Tensor:
    """The heads' advantages, weighted and added: what rollouts are chosen by, `[R]`."""
    return (heads(batch) * batch["weight_RK"]).sum(1)


@dataclass(frozen=True)
class Chosen:
    """Keeps the best and the worst `best` rollouts of each group (0: all) and a random share of their steps."""

    best: int = 0
    share: float = 0.6

    def __call__(self, batch: Batch, context: Context) -> Batch:
        batch = batch.with_(advantage_RK=heads(batch))
        if self.best:
            total_R = summed_heads(batch, context)
            members = [(batch.group_R == group).nonzero().flatten() for group in batch.group_R.unique()]
            ends = [torch.cat(extremes(total_R[rows], min(self.best, len(rows)))) for rows in members]
            kept = torch.cat([rows[chosen] for rows, chosen in zip(members, ends)])
            batch = batch.take_rollouts(kept.sort().values)
        return SomeSteps(self.share)(batch, context)


@dataclass(frozen=True)
class ClippedHeads:
    """Σ_k w_k · clipped surrogate of reward k's own advantage."""

    clip: float = 1e-4

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        ratio_NT = log_ratio(logp_NT, old_of(batch, logp_NT))
        advantage_NK, weight_NK = (batch[name][batch.rollout_N].to(logp_NT) for name in ("advantage_RK", "weight_RK"))
        terms = [
            weight_N[:, None] * clipped_surrogate(ratio_NT, advantage_N[:, None], self.clip)
            for advantage_N, weight_N in zip(advantage_NK.unbind(1), weight_NK.unbind(1))
        ]
        return torch.stack(terms).sum(0)


TINY_SAMPLING = FlowSampling(
    steps=10, eta=0.7, kernel="constant", stochastic=tuple(range(9)), trained=tuple(range(5)), noise="shared"
)
TINY = tiny(
    (MODE, CLEAN),
    sampling=TINY_SAMPLING,
    advantage=summed_heads,
    select=Chosen(),
    objective=ClippedHeads(),
)

PAPER = paper(
    FLUX,
    HPD,
    (HPS,),
    sampling=FlowSampling(
        steps=16, eta=0.3, kernel="constant", stochastic=tuple(range(15)), noise="shared", guidance=3.5
    ),
    measured_by=FlowSampling(steps=50, eta=0.0, guidance=3.5),
    steps=300,
    prompts_per_step=16,
    group_size=12,
    minibatches=3,
    rows_per_forward=12,
    advantage=summed_heads,
    select=Chosen(),
    objective=ClippedHeads(),
    optimizer=AdamW(lr=1e-5, weight_decay=1e-4),
)

RECIPE = Recipe(
    title="DanceGRPO: Unleashing GRPO on Visual Generation",
    arxiv="2505.07818",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="one first noise a group, constant noise level, a random share of steps, an advantage and a clip a reward",
    formulas=(
        "x' = x + v dt − ½ η² s dt + η √(−dt) ε, s = −(x − (1 − t) x₀) / t²; the last step is deterministic",
        "A_k = (r_k − mean_group) / (std_group + 1e-8), within ±5",
        "loss = mean over 60% of the steps of Σ_k w_k max(−ρ A_k, −clip(ρ, 1 ± 1e-4) A_k)",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("gold on held-out prompts", baseline="dancegrpo/ablation, a first noise of its own for each rollout"),
    variants={"tiny/ablation": with_stage(TINY, sampling=replace(TINY_SAMPLING, noise="own"))},
    assumptions={
        "tiny.rewards": "two heads of the world of blobs (a rare mode, no dirt) stand for two reward models",
        "tiny.select": "the share is taken of the first 5 of 10 steps",
        "tiny.sampling": "10 steps at noise level 0.7: at 0.3 the small model's groups hardly differ",
        "paper.steps_per_update": "the accumulation of 4 prompts on each of 16 GPUs is three updates a batch",
    },
)
