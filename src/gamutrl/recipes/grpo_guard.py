"""GRPO-Guard: Mitigating Implicit Over-Optimization in Flow Matching via Regulated Clipping (arXiv 2510.22319).

What it changes: Flow-GRPO's importance ratios are not centred at 1, and the less noise a step has, the wider they
spread, so that one clip range hardly ever stops a step that a good sample pushes too far. The log-ratio is given back
the drift that shifts it and is multiplied by the step's deviation; the loss is divided by dt, so that no step outweighs
the others. It should help because the clip then works, which keeps the policy from running away under a proxy reward
while what the reward stands for gets worse.

Source: scripts/train_sd3_GRPO_Guard.py of flow_grpo as in github.com/zhtmike/flow_grpo at 9745241c. Code and paper
differ: the code takes one drift for all samples of a step (variant `released`), the paper each sample's own.
"""

from __future__ import annotations

from gamutrl.recipes import flow_grpo
from gamutrl.recipes.flow_plain import CLIP, GROUP_SCALE, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.blobs import PROXY
from gamutrl.training.defaults import keep_all, old_and_reference
from gamutrl.training.flow import MEAN, NormalizedSurrogate, old_means_and_reference
from gamutrl.training.optimizer import AdamW

TINY = tiny(
    (PROXY,),
    prepare=old_means_and_reference,
    statistics=(MEAN,),
    objective=NormalizedSurrogate(1e-4),
    updates_per_batch=2,
    optimizer=AdamW(lr=2e-4, warmup=0.1, schedule="cosine"),
)

PAPER = with_stage(
    flow_grpo.PAPER,
    advantage=GROUP_SCALE,
    select=keep_all,
    kl=None,
    prepare=old_means_and_reference,
    statistics=(MEAN,),
    objective=NormalizedSurrogate(4e-6),
    optimizer=AdamW(lr=1e-4, weight_decay=1e-4),
)

RECIPE = Recipe(
    title="GRPO-Guard: Mitigating Implicit Over-Optimization in Flow Matching via Regulated Clipping",
    arxiv="2510.22319",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="ratios centred and scaled to one spread at every step, and a loss divided by the step's length",
    formulas=(
        "log ρ = (log π − log π_old + ‖μ − μ_old‖² / (2 s²)) · s, s = σ_t √(−dt)",
        "A = (r − mean_group) / (std_group + 1e-4), within ±5",
        "loss = mean over steps of max(−ρ A, −clip(ρ, 1 ± 2e-6) A) / (−dt)",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("gold on held-out prompts, trained on the proxy", baseline="grpo-guard/ablation, plain ratios"),
    variants={
        "tiny/ablation": with_stage(TINY, objective=CLIP, prepare=old_and_reference, statistics=()),
        "tiny/released": with_stage(TINY, objective=NormalizedSurrogate(1e-4, shared_drift=True)),
        "paper/released": with_stage(PAPER, objective=NormalizedSurrogate(4e-6, shared_drift=True)),
    },
    assumptions={
        "tiny.sampling": "the first 4 of 10 steps are trained",
        "tiny.rewards": "a proxy with a bonus for an artefact; the hidden score is only measured",
        "tiny.objective": "a clip range of 1e-4: a latent of 64 dimensions leaves ratios wider than one of 65,536",
    },
)
