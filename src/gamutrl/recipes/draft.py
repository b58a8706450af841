"""DRaFT and AlignProp: Directly Fine-Tuning Diffusion Models on Differentiable Rewards (arXiv 2309.17400), Aligning
Text-to-Image Diffusion Models with Reward Backpropagation (arXiv 2310.03739).

What they change: no policy gradient at all. The reward is differentiated through the sampler, its stochastic steps with
their noise held fixed, into the weights (of an adapter). Through the whole path the gradient explodes and reaches what
the last steps could have done; so it is cut: DRaFT-K keeps the last K steps, DRaFT-LV takes the last one from several
fresh noisings of the outcome, AlignProp draws where it begins for each batch. It should help because a gradient tells
far more than a number: many times fewer samples than policy gradients for the same reward.

Source: github.com/mihirp1998/AlignProp at b22918af; for DRaFT the paper's text. Mended: the released loss maps pictures
that lie in [0, 1] already to [0.5, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.data.sources import Texts
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.models import FlowModel, Lora
from gamutrl.recipes.ddpo import ANIMALS
from gamutrl.recipes.denoising_plain import PROMPTS, on_blobs, on_pipeline
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.rewards.blobs import GOLD
from gamutrl.rewards.models.embedding import AestheticScore
from gamutrl.training.direct import Direct, DrawnSteps, LastSteps
from gamutrl.training.optimizer import AdamW


@dataclass(frozen=True)
class Toward:
    """scale · |reward − target|: a target out of reach is ascent. A direct stage's `objective`."""

    target: float = 10.0
    scale: float = 0.01

    def __call__(self, reward_R: Tensor, batch: Batch, context: Context) -> Tensor:
        return self.scale * (reward_R - self.target).abs()


TINY = on_blobs(
    Direct(
        PROMPTS,
        (GOLD,),
        steps=60,
        prompts_per_step=64,
        sampling=FlowSampling(steps=10, eta=0.0),
        sample=DrawnSteps(mean=8.5, std=1.0),
        optimizer=AdamW(lr=1e-3),
    ),
    model="blobs-flow",
)

AESTHETIC = Reward("aesthetic", AestheticScore(), differentiable=True)
PAPER = on_pipeline(
    Direct(
        Texts(tuple(ANIMALS.split())),
        (AESTHETIC,),
        steps=20,
        prompts_per_step=128,
        prompts_per_forward=8,
        sampling=FlowSampling(steps=50, eta=1.0, guidance=5.0, detach_negative=False),
        sample=DrawnSteps(mean=42.0, std=5.0),
        objective=Toward(),
        optimizer=AdamW(lr=1e-3, weight_decay=1e-4),
    ),
    model=FlowModel("stable-diffusion-v1-5/stable-diffusion-v1-5", lora=Lora(4, 4.0), gradient_checkpointing=True),
    held_out=Texts(tuple(ANIMALS.split())),
    metric=AESTHETIC,
    measured_by=FlowSampling(steps=50, eta=1.0, guidance=5.0),
)

RECIPE = Recipe(
    title="Directly Fine-Tuning Diffusion Models on Differentiable Rewards; Reward Backpropagation",
    arxiv="2309.17400",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="the reward's gradient through the last steps of the sampler, whose number is drawn for each batch",
    formulas=(
        "θ ← θ + η ∇θ r(x₀(θ, noise)), with x_t cut from the graph for all but the last steps",
        "AlignProp: the first step with a gradient is drawn, N(42, 5) of 50; DRaFT-K: the last K",
        "loss = 0.01 · |r − 10| (aesthetic score)",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/paper": with_stage(TINY, sample=LastSteps(1)),
        "paper/paper": with_stage(PAPER, sample=LastSteps(1)),
    },
    claim=Claim("gold score", baseline="ddpo, at equal samples", budget="rollouts"),
    assumptions={
        "variants": "paper: DRaFT-1; the released code is AlignProp's",
        "tiny.stages.direct.sampling": "10 steps; the gradient begins about where it does of 50",
        "tiny.model": "the flow: the last step of the world's small diffusion changes nothing, so no gradient is in it",
        "paper.held_out": "the same 45 animals: the released code holds out six others",
    },
)
