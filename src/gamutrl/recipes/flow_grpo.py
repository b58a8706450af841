"""Flow-GRPO: Training Flow Matching Models via Online RL (arXiv 2505.05470).

What it changes: plain GRPO gets a sampler that it can learn from. A flow is sampled by an ODE, which leaves nothing to
chance; an SDE with the same marginals draws noise at every step, so that each step is a Gaussian with a log-probability
and a group of rollouts explores. It should help because any reward can then be learned from, without its gradient; few
steps (10) are enough to train what is sampled with many (40). The KL to the start is exact, from the steps' means.

Source: github.com/yifan123/flow_grpo at ac4c86e8. Code and paper differ:
- The KL divides by the noise rate alone in the code, by the step's whole deviation (√dt in it) in the paper (variant
  `paper`).
- Advantages are divided by the deviation of all rewards of a step (`global_std`), by the group's in the paper.
"""

from __future__ import annotations

from gamutrl.policies.flow import FlowSampling
from gamutrl.recipes.flow_plain import BATCH_SCALE, GROUP_SCALE, PICK_A_PIC, PICKSCORE, SD3, digits, paper, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.training.defaults import KeepGroups
from gamutrl.training.flow import GaussianKL
from gamutrl.training.optimizer import AdamW

TINY = tiny(advantage=BATCH_SCALE, select=KeepGroups(), kl=GaussianKL(0.04))

PICTURES = digits(advantage=BATCH_SCALE, select=KeepGroups(), kl=GaussianKL(0.04), steps=30)

PAPER = paper(
    SD3,
    PICK_A_PIC,
    (PICKSCORE,),
    sampling=FlowSampling(steps=10, eta=0.7, guidance=4.5, trained=tuple(range(9))),
    measured_by=FlowSampling(steps=40, eta=0.0, guidance=4.5),
    steps=1000,
    prompts_per_step=48,
    group_size=24,
    minibatches=2,
    rows_per_forward=24,
    advantage=BATCH_SCALE,
    select=KeepGroups(),
    kl=GaussianKL(0.01),
    optimizer=AdamW(lr=3e-4, weight_decay=1e-4),
)

RECIPE = Recipe(
    title="Flow-GRPO: Training Flow Matching Models via Online RL",
    arxiv="2505.05470",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="the sampler's ODE becomes an SDE with the same marginals, so that its steps can be explored and scored",
    formulas=(
        "x' = x + [v + σ_t² / (2t) (x + (1 − t) v)] dt + σ_t √(−dt) ε, σ_t = a √(t / (1 − t))",
        "A = (r − mean_group) / (std_batch + 1e-4), within ±5; groups without spread are left out",
        "loss = mean over steps of max(−ρ A, −clip(ρ, 1 ± 1e-4) A) + β ‖μ − μ_ref‖² / (2 σ_t²)",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("gold on held-out prompts", baseline="grpo"),
    variants={
        f"{name}/paper": with_stage(preset, kl=GaussianKL(weight, whole_step=True), advantage=GROUP_SCALE)
        for name, preset, weight in (("tiny", TINY, 0.004), ("paper", PAPER, 0.001))
    }
    | {"tiny/ablation": with_stage(TINY, kl=None), "tiny/pictures": PICTURES},
    assumptions={
        "tiny.data": "8x8 pictures of the world of blobs, whose hidden score is known; held out: unseen combinations",
        "tiny.model": "the denoiser trains but for its first and last layer; the paper trains an adapter",
        "tiny.sampling": "the first 4 of 10 steps are trained",
        "tiny/pictures": "flow-tiny draws handwritten digits, paid by how sure a small reader is of them; to the eye "
        "strokes grow thin and bluish: part of what rises is the reader's weakness",
        "tiny.evaluation": "the ODE with 10 steps, as many as in training",
        "paper.data": "captions of Pick-a-Pic, from which the repository's prompt list was drawn",
        "paper.evaluation": "the weights of now; the repository's running mean of weights is not kept",
        "variants.kl": "a weight that makes the penalty about as strong as the code's, as dt lies near 0.1",
    },
)
