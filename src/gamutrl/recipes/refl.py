"""ReFL: ImageReward: Learning and Evaluating Human Preferences for Text-to-Image Generation (arXiv 2304.05977).

What it changes, against gradient ascent through the last step. First, a reward model learns from rankings of several
pictures a prompt. Then the reward's gradient goes through one denoising step, drawn late in the path: what comes
before carries none, the clean picture is predicted from there at once, and the loss relu(2 − r) gives up a picture
that is good enough. It should help because the prediction at a late step is near the picture, another step each time
spreads what is learned over the last quarter of the path, and the bound keeps a reward from being hacked without end.

Source: github.com/THUDM/ImageReward at c1392c6d. The paper adds a denoising loss on picture-text pairs; the code of
SD 1.4 has none, and neither has this. The code denoises without guidance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import WorldRows
from gamutrl.data.worlds import blobs
from gamutrl.functional.preference import reward_margin
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.models import FlowModel
from gamutrl.policies.scorer import ScorerModel
from gamutrl.recipes.denoising_plain import PROMPTS, on_blobs, on_pipeline, spoiled
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.rewards.blobs import GOLD
from gamutrl.rewards.models.image_reward import ImageReward
from gamutrl.training.direct import Direct, LastSteps, LateStep
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preference import Ranked
from gamutrl.training.reward_model import ModelScore, Standardise, reward_model


@dataclass(frozen=True)
class Enough:
    """scale · max(0, enough − reward): no gradient from a picture that is good enough. A direct stage's `objective`."""

    enough: float = 2.0
    scale: float = 1e-3

    def __call__(self, reward_R: Tensor, batch: Batch, context: Context) -> Tensor:
        return self.scale * reward_margin(reward_R, self.enough)


def ranked_by_gold(policy: Any, prompts: Sequence[Prompt]) -> Batch:
    """Each row's samples, some of them spoiled, ranked by the world's gold score: the `answers` of a reward model."""
    batch = spoiled(Ranked()(policy, prompts))
    space, class_P = blobs.space_of(prompts)
    x_RD = torch.stack([rollout.output for rollout in batch.rollouts])
    return batch.with_(label_R=space.gold(x_RD, class_P[batch.prompt_R]))


RANKINGS = WorldRows("blobs", "rankings", knobs={"count": 6})

LATE = Direct(
    PROMPTS,
    (GOLD,),
    steps=40,
    prompts_per_step=64,
    sampling=FlowSampling(steps=20, eta=0.0),
    sample=LateStep(15, 19),
    objective=Enough(enough=0.9, scale=1.0),
    optimizer=AdamW(lr=1e-3, weight_decay=1e-2),
)
TINY = on_blobs(LATE, model="blobs-flow")

LEARNED = on_blobs(
    reward_model(RANKINGS, answers=ranked_by_gold, steps=80, rows_per_step=32, optimizer=AdamW(lr=3e-3)),
    Standardise(RANKINGS, ranked_by_gold),
    replace(
        LATE,
        rewards=(Reward("learned", ModelScore("reward"), differentiable=True),),
        steps=20,
        sample=LateStep(4, 11),
        objective=Enough(enough=1.5, scale=1.0),
        optimizer=AdamW(lr=1e-4, weight_decay=1e-2),
    ),
    model="blobs-flow",
    models=(("reward", ScorerModel(size=64, width=128)),),
)
"""All of the paper's stages: the reward is learned from rankings first."""

LIKED = Reward("image_reward", ImageReward(), differentiable=True)
PAPER = on_pipeline(
    Direct(
        FileRows("refl_data.json"),
        (LIKED,),
        steps=100,
        prompts_per_step=64,
        prompts_per_forward=2,
        sampling=FlowSampling(steps=40, eta=1.0),
        sample=LateStep(30, 39),
        objective=Enough(),
        optimizer=AdamW(lr=1e-5, weight_decay=1e-2),
    ),
    model=FlowModel("CompVis/stable-diffusion-v1-4", gradient_checkpointing=True),
    held_out=FileRows("refl_data.json", split="test"),
    metric=LIKED,
    measured_by=FlowSampling(steps=50, eta=0.0, guidance=7.5),
)

RECIPE = Recipe(
    title="ImageReward and ReFL: Learning and Evaluating Human Preferences for Text-to-Image Generation",
    arxiv="2304.05977",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="a reward learned from rankings, its gradient through one late step drawn at random, up to a bound",
    formulas=(
        "reward model: −log σ(r(better) − r(worse)), over every two of a ranking",
        "x₀ = (x_t − √(1 − ᾱ_t) ε(x_t)) / √ᾱ_t at a step t of the last quarter; nothing before carries a gradient",
        "loss = λ · max(0, 2 − r(x₀)), r in deviations from its mean",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("gold score", baseline="refl/ablation, through the very last step", budget="rollouts"),
    variants={"tiny/paper": LEARNED, "tiny/ablation": with_stage(TINY, sample=LastSteps(1))},
    assumptions={
        "tiny.rewards": "the world's own score, as the released code takes the released reward model",
        "variants": "paper: the reward model is trained as well; one so small is hacked at once through late steps, "
        "which move single pixels, so steps in mid-path carry the gradient there",
        "tiny.model": "the flow: the last steps of the world's small diffusion move next to nothing",
        "tiny.stages.direct.objective": "enough is 0.9 of a score that ends at 1; the optimizer undoes the scale",
        "tiny.stages.direct.sampling": "20 steps, of which the last quarter is drawn from, as in the paper's 40",
    },
)
