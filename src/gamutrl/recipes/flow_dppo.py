"""Flow-DPPO: Divergence Proximal Policy Optimization for Flow Matching Models (arXiv 2606.11025).

What it changes: Flow-GRPO without the clip. A denoising step is a Gaussian whose deviation does not change, so how far
an update has moved it is known exactly: the KL of the two steps. A step is left out only where that KL is over a
threshold and the ratio has already moved the way its advantage pushes; whatever corrects passes. Three random steps of
the first half draw noise and are trained. It should help because a ratio measures one noisy sample, the KL the step
itself: several updates on one batch stay stable.

Source: github.com/Tencent-Hunyuan/UniRL at 1a7b501e. The code's KL is a mean over the latent, the paper's a sum; the
threshold belongs to the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.functional.divergences import gaussian_kl
from gamutrl.functional.objectives import outward, unclipped_surrogate
from gamutrl.functional.windows import drawn_steps
from gamutrl.policies.flow import FlowSampling
from gamutrl.recipes.flow_plain import CLIP, PICK_A_PIC, PICKSCORE, SD3, paper, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.training.defaults import GroupAdvantage, old_and_reference
from gamutrl.training.flow import MEAN, old_means_and_reference, rollout_with
from gamutrl.training.optimizer import AdamW


@dataclass(frozen=True)
class RandomSteps:
    """Samples with noise at `count` steps, drawn anew for each training step out of the first `share` of them."""

    count: int = 3
    share: float = 0.5

    def __call__(self, stage: Any, prompts: Sequence[Prompt], context: Context) -> Batch:
        pool = range(int(stage.sampling.steps * self.share))
        seed = int(context.generator("steps").initial_seed())
        return rollout_with(stage, prompts, context, stochastic=tuple(drawn_steps(seed, pool, self.count)))


@dataclass(frozen=True)
class HeldByKL:
    """−A · ρ, but 0 for a step that has moved by a KL of `threshold` or more and would move on.

    Logged: `kl/held`, the share of steps that were held, and `kl/step`, their mean KL.
    """

    threshold: float = 1e-5

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        on_NT = batch.mask_NT.to(logp_NT.device)
        ratio, advantage = (logp_NT - batch["logp_old_NT"].to(logp_NT))[on_NT], batch["advantage_NT"].to(logp_NT)[on_NT]
        mean, old = (batch[name].detach()[on_NT] for name in ("mean_NT", "mean_old_NTX"))
        kl = gaussian_kl(mean, old, batch["std_NT"].to(logp_NT)[on_NT])
        held = (kl >= self.threshold) & outward(ratio, advantage)
        context.metrics |= {"kl/held": float(held.float().mean()), "kl/step": float(kl.mean())}
        terms = torch.where(held, 0.0, unclipped_surrogate(ratio, advantage))
        return torch.zeros_like(logp_NT).masked_scatter(on_NT, terms)


ADVANTAGE = GroupAdvantage(scale="batch", eps=1e-8)
TINY = tiny(
    sampling=FlowSampling(steps=10, eta=0.7),
    rollout=RandomSteps(),
    advantage=ADVANTAGE,
    prepare=old_means_and_reference,
    statistics=(MEAN,),
    objective=HeldByKL(1e-3),
    updates_per_batch=4,
    optimizer=AdamW(lr=1e-4, warmup=0.1, schedule="cosine"),
)

PAPER = paper(
    SD3,
    PICK_A_PIC,
    (PICKSCORE,),
    sampling=FlowSampling(steps=10, eta=0.7, sigma_one=0.99),
    measured_by=FlowSampling(steps=40, eta=0.0),
    steps=300,
    prompts_per_step=48,
    group_size=16,
    minibatches=2,
    rows_per_forward=16,
    rollout=RandomSteps(),
    advantage=ADVANTAGE,
    prepare=old_means_and_reference,
    statistics=(MEAN,),
    objective=HeldByKL(),
    optimizer=AdamW(lr=3e-4),
)

RECIPE = Recipe(
    title="Flow-DPPO: Divergence Proximal Policy Optimization for Flow Matching Models",
    arxiv="2606.11025",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="no clip: a step is held where its exact KL to the policy that sampled is too large and would grow",
    formulas=(
        "KL = mean of (μ − μ_old)² / (2 σ²), σ = η √(t / (1 − t)) √(−dt)",
        "A = (r − mean_group) / (std_batch + 1e-8)",
        "loss = mean over steps of −ρ A, 0 where KL ≥ τ and (ρ − 1) A > 0",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("gold on held-out prompts after four updates a batch", baseline="flow-dppo/ablation, a clip"),
    variants={"tiny/ablation": with_stage(TINY, objective=CLIP, prepare=old_and_reference, statistics=())},
    assumptions={
        "tiny.objective": "a threshold of 1e-3: the small model takes larger steps than 1e-5 would let through",
        "tiny.updates_per_batch": "four, where the exact KL should tell; the configuration has two minibatches",
    },
)
