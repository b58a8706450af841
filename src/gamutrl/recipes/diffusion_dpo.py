"""Diffusion-DPO: Diffusion Model Alignment Using Direct Preference Optimization (arXiv 2311.12908).

What it changes: DPO for models whose likelihood is not to be had. The log-ratio of policy and reference becomes a
difference of denoising errors at one noise level, drawn for each pair; winner and loser get the same level and the same
noise. No sampling, no reward model. It should help over supervised fine-tuning on the winners because the loser is
pushed away as well, and what winner and loser share is not learned at all.

Source: github.com/SalesforceAIResearch/DiffusionDPO at 5233e759. The errors are means over the latent, with no weight
by level; β is accordingly large. The paper states another learning rate than the launchers, which are followed here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gamutrl.core import Message, Prompt, text
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed, WorldRows
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.models import FlowModel
from gamutrl.recipes.denoising_plain import on_blobs, on_pipeline
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.rewards.models.embedding import pick_score
from gamutrl.training.forward import Matching, Noised, Uniform
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preference import Gain, Imitation, PairLoss, Preference


@dataclass(frozen=True)
class WithoutWords:
    """A share of the prompts is emptied, so that what guidance leads away from is trained as well."""

    share: float = 0.2

    def __call__(self, prompt: Prompt, seed: int) -> Prompt:
        emptied = seed % 10_000 < self.share * 10_000
        return replace(prompt, messages=(Message("user", (text(""),)),)) if emptied else prompt


TINY = on_blobs(
    Preference(
        WorldRows("blobs", "pairs"),
        steps=80,
        rows_per_step=128,
        prepare=Noised(Uniform(2), shared=True),
        likelihood=Matching(scale=0.5),
        objective=PairLoss(beta=200.0, gain=Gain("action")),
        optimizer=AdamW(lr=3e-4, weight_decay=1e-2),
    ),
)

IMITATED = with_stage(TINY, objective=Imitation(), prepare=Noised(Uniform(2), references=()), references=())
"""The baseline: the winners alone, by their denoising error."""

PICKED = FileRows("yuvalkirstain/pickapic_v2")
PAPER = on_pipeline(
    Preference(
        Changed(PICKED, WithoutWords()),
        steps=2000,
        rows_per_step=2048,
        rows_per_forward=2,
        prepare=Noised(Uniform(), shared=True),
        likelihood=Matching(scale=0.5),
        objective=PairLoss(beta=5000.0, gain=Gain("action")),
        optimizer=AdamW(lr=2.05e-5, weight_decay=1e-2, warmup=0.25),
    ),
    model=FlowModel("stable-diffusion-v1-5/stable-diffusion-v1-5"),
    held_out=replace(PICKED, split="test"),
    metric=Reward("pick_score", pick_score()),
    measured_by=FlowSampling(steps=50, eta=0.0, guidance=7.5),
)

RECIPE = Recipe(
    title="Diffusion Model Alignment Using Direct Preference Optimization",
    arxiv="2311.12908",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="DPO with denoising errors, at a level and a noise that winner and loser share, for log-probabilities",
    formulas=(
        "m = mean (ε_θ(x_t) − ε)², r the same of the reference; x_t of winner and loser with one t and one ε",
        "loss = −log σ(−β/2 · [(m_w − r_w) − (m_l − r_l)])",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={"tiny/ablation": IMITATED},
    claim=Claim("gold score", baseline="diffusion-dpo/ablation, supervised fine-tuning on the winners", budget="pairs"),
    assumptions={
        "tiny.stages.preference.objective.beta": "200: errors are means over 64 numbers here, not over 16,384",
        "tiny.stages.preference.prepare.levels": "two levels a pair, to use what was drawn",
    },
)
