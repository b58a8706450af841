"""TempFlow-GRPO: When Timing Matters for GRPO in Flow Models (arXiv 2508.04324).

What it changes: Flow-GRPO gives every step of a rollout the same credit. Here the trunk is the deterministic ODE; at
each of its steps children branch off by one noisy step and are finished by the ODE, so that a child's reward is that of
the one step in which it differs. Children of a prompt's seeds are compared at the same step. Each step's loss weighs as
much as the noise that it draws. It should help because early steps, which decide what is seen, get the credit for it.

Source: github.com/Shredded-Pork/TempFlow-GRPO at e66824ec (scripts/train_sd3_pr.py). The paper scales the weights to
mean 1 over the steps; the code has a constant by hand (2.25 for SD3.5) times σ_t √(−dt).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Rollout
from gamutrl.functional.objectives import clipped_surrogate
from gamutrl.functional.ratios import log_ratio
from gamutrl.policies.flow import FlowSampling
from gamutrl.recipes.flow_plain import CLIP, FEW, PICK_A_PIC, PICKSCORE, SD3, paper, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.training.defaults import KeepGroups, old_of, sample_groups
from gamutrl.training.flow import GaussianKL
from gamutrl.training.optimizer import AdamW


@dataclass(frozen=True)
class Branches:
    """`children` noisy branches off every step but the last of each ODE trunk (`group_size` trunks a prompt).

    Each branch is a rollout whose one noisy step is trained; a group is a prompt's branches off the same step.
    """

    children: int = 6

    def __call__(self, stage: Any, prompts: Sequence[Prompt], context: Context) -> Batch:
        policy = context.models[stage.trains]
        seed = int(context.generator("rollout").initial_seed())
        trunk = policy.begin(prompts, stage.group_size, stage.sampling, seed=seed)
        rollouts: list[Rollout] = []
        prompt_R: list[int] = []
        group_R: list[int] = []
        for step in range(stage.sampling.steps - 1):
            branch, _ = policy.step(trunk.fork(self.children), stochastic=True)
            while not branch.done:
                branch, _ = policy.step(branch, stochastic=False)
            finished = policy.finish(branch)
            rollouts += finished.rollouts
            prompt_R += finished.prompt_R.tolist()
            group_R += (finished.prompt_R * stage.sampling.steps + step).tolist()
            trunk, _ = policy.step(trunk, stochastic=False)
        return policy.batch(trunk.prompts, rollouts, prompt_R, group_R, cache=trunk.conditions)

    def rollouts(self, stage: Any) -> int:
        """How many outputs a training step makes of a prompt."""
        return stage.group_size * self.children * (stage.sampling.steps - 1)


@dataclass(frozen=True)
class NoiseWeighted:
    """The clipped surrogate times `scale` and the deviation that each step draws with."""

    clip: float = 1e-4
    scale: float = 2.25

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        ratio_NT = log_ratio(logp_NT, old_of(batch, logp_NT))
        terms_NT = clipped_surrogate(ratio_NT, batch["advantage_NT"].to(logp_NT), self.clip)
        return self.scale * batch["std_NT"].to(logp_NT) * terms_NT


TINY_SAMPLING = FlowSampling(steps=6, eta=0.7)
TINY = tiny(
    sampling=TINY_SAMPLING,
    prompts_per_step=8,
    group_size=2,
    rollout=Branches(children=4),
    select=KeepGroups(),
    objective=NoiseWeighted(),
    kl=GaussianKL(0.004, whole_step=True),
    steps=60,
)

PAPER = paper(
    SD3,
    PICK_A_PIC,
    (PICKSCORE,),
    sampling=FlowSampling(steps=10, eta=0.7, guidance=4.5),
    measured_by=FlowSampling(steps=40, eta=0.0, guidance=4.5),
    steps=1000,
    prompts_per_step=48,
    group_size=4,
    minibatches=2,
    rows_per_forward=24,
    rollout=Branches(children=6),
    select=KeepGroups(),
    objective=NoiseWeighted(),
    kl=GaussianKL(0.001, whole_step=True),
    optimizer=AdamW(lr=3e-4, weight_decay=1e-4),
)

RECIPE = Recipe(
    title="TempFlow-GRPO: When Timing Matters for GRPO in Flow Models",
    arxiv="2508.04324",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="noisy branches off every step of an ODE trunk, compared step by step; losses weigh by a step's noise",
    formulas=(
        "w = σ_t √(−dt)",
        "A_t = (r − mean) / (std + 1e-4) over the branches of a prompt off step t, within ±5",
        "loss = mean of 2.25 w max(−ρ A_t, −clip(ρ, 1 ± 1e-4) A_t) + β ‖μ − μ_ref‖² / (2 w²)",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("gold on held-out prompts", baseline="tempflow-grpo/ablation, Flow-GRPO with as many rollouts"),
    variants={
        "tiny/ablation": with_stage(
            TINY,
            rollout=sample_groups,
            group_size=40,
            objective=CLIP,
            sampling=replace(TINY_SAMPLING, trained=FEW),
        )
    },
    assumptions={
        "tiny.rollout": "two trunks with four branches off each of five steps: 40 rollouts a prompt",
        "paper.optimizer": "the learning rate of the repository that it extends; its own copy was not read",
    },
)
