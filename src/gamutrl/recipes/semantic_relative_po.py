"""SRPO: Directly Aligning the Full Diffusion Trajectory with Fine-Grained Human Preference (arXiv 2509.06942).

What it changes, against ReFL. Direct-Align: a sample is noised with a noise that is kept; after one step of the model
the clean picture follows from that noise in closed form, so the reward's gradient reaches early, noisy steps through
one call. Semantic Relative Preference: the reward is that of the prompt with a word for what is wanted, less that with
a word for what is not; what a reward model likes of any picture cancels. A second branch takes the step the other way,
towards noise, with the words exchanged. It should help because a bias of the reward model, of colour say, is the same
for both prompts and is not climbed.

Source: github.com/Tencent-Hunyuan/SRPO at 81e58984. Mended: training there ends at step 20, where only pictures are
made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.functional.denoising import aligned, aligned_levels
from gamutrl.policies.flow import Corruption, FlowPolicy, FlowSampling, Outputs
from gamutrl.policies.flow.state import State
from gamutrl.recipes.denoising_plain import PROMPTS, on_blobs, on_pipeline
from gamutrl.recipes.flow_plain import FLUX, HPD
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.recipes.refl import Enough
from gamutrl.rewards.base import Reward, Score
from gamutrl.rewards.blobs import STRIPED, Worded
from gamutrl.rewards.models.embedding import hps_score
from gamutrl.rewards.told import Told, told
from gamutrl.training.direct import Direct, LateStep, through
from gamutrl.training.optimizer import AdamW

REALISTIC = ("Natural-lighting", "Detail", "Detailed", "Real")
STYLISED = ("Concept art", "Painting", "Anime", "Flat", "Oil")


@dataclass(frozen=True)
class Levels:
    """The noise levels that are trained, from the noisiest, in `points` steps; a draw takes one of them for a batch.

    share: how much of the way is left to the known noise.
    """

    noisiest: float = 0.964
    cleanest: float = 0.75
    points: int = 1000
    share: float = 0.9
    margin: int = 5

    def place(self, generator: torch.Generator) -> int:
        """How far from the clean end, in points. The first draw of a generator: who asks again gets the same."""
        return int(torch.randint(self.margin, self.points - self.margin + 1, (), generator=generator))

    def steps(self, place: int) -> list[tuple[float, float]]:
        """From where to where each branch steps: down to the place, and from below it up again."""
        level = torch.linspace(self.noisiest, self.cleanest, self.points, dtype=torch.float64).tolist()
        ends = (aligned_levels(self.points, place, self.share, inverse=inverse) for inverse in (False, True))
        return [(level[start], level[end]) for start, end in ends]


@dataclass(frozen=True)
class DirectAlign:
    """Samples to the end, noises the outcome, takes one step down and one up, and recovers the clean latents from the
    known noise: a `sample` that gives two latents a path."""

    levels: Levels = Levels()
    guidance: float = 1.0

    def __call__(self, policy: FlowPolicy, state: State, generator: torch.Generator) -> Tensor:
        steps = self.levels.steps(self.levels.place(generator))
        with torch.no_grad():
            clean_R = through(policy, state, state.grid.steps - 1).detach()
        outputs = Outputs([state.prompts[p] for p in state.prompt_R.tolist()], clean_R, state.conditions)
        noise_R = torch.randn(clean_R.shape, generator=generator).to(clean_R)
        recovered = []
        for start, end in steps:
            before, after = (clean_R.new_full((len(state), 1), level) for level in (start, end))
            noised_R = policy.denoiser.schedule.mix(clean_R, noise_R, before[:, 0])
            corruption = Corruption(noised_R[:, None], noise_R[:, None], before, policy.denoiser.schedule.at(before)[1])
            velocity_R = policy.denoise(outputs, corruption, self.guidance)[:, 0]
            recovered.append(aligned(clean_R, noise_R, before[0, 0], after[0, 0], velocity_R))
        return torch.stack(recovered, 1).flatten(0, 1)


@dataclass(frozen=True)
class Relative:
    """(1 + k) · score with a wanted word − score with an unwanted one; for the second branch the words are exchanged.

    A reward's `score`, of a batch in which every path has two rollouts. The words take turns by step. discounts: k at
    the cleanest and at the noisiest place, for each branch.
    """

    score: Score
    wanted: tuple[str, ...] = REALISTIC
    unwanted: tuple[str, ...] = STYLISED
    levels: Levels = Levels()
    discounts: tuple[tuple[float, float], ...] = ((0.1, 0.25), (0.3, 0.01))

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        place = self.levels.place(context.generator("truncation")) / (self.levels.points - 1)
        scores = [
            self.score(told(batch, words[context.step % len(words)]), context) for words in (self.wanted, self.unwanted)
        ]
        second_R = torch.arange(len(batch.rollouts)) % 2 == 1
        liked_R, disliked_R = (
            torch.where(second_R, other, one) for one, other in ((scores[0], scores[1]), (scores[1], scores[0]))
        )
        k = [clean + (noisy - clean) * place for clean, noisy in self.discounts]
        return (1 + torch.where(second_R, k[1], k[0])) * liked_R - disliked_R


WORLD = Levels(noisiest=0.4, cleanest=0.1)
EVEN = ((0.5, 0.5), (0.5, 0.5))
TINY = on_blobs(
    Direct(
        PROMPTS,
        (Reward("relative", Relative(Worded(), ("Striped",), ("Plain",), WORLD, EVEN), differentiable=True),),
        steps=40,
        prompts_per_step=64,
        sampling=FlowSampling(steps=10, eta=0.0),
        sample=DirectAlign(WORLD),
        objective=Enough(enough=3.0, scale=0.5),
        optimizer=AdamW(lr=1e-4, clip_norm=0.1),
    ),
    model="blobs-flow",
    metric=STRIPED,
)

LATE = with_stage(
    TINY,
    rewards=(Reward("worded", Told(Worded(), "Striped"), differentiable=True),),
    sample=LateStep(6, 9),
)
"""The baseline: ReFL on the same reward model, told what is wanted, with its bias."""

HPS = hps_score(most=1)
PAPER = on_pipeline(
    Direct(
        HPD,
        (Reward("relative", Relative(HPS), differentiable=True),),
        steps=20,
        prompts_per_step=32,
        prompts_per_forward=1,
        sampling=FlowSampling(steps=25, eta=0.0),
        sample=DirectAlign(guidance=3.5),
        objective=Enough(enough=0.7, scale=0.5),
        optimizer=AdamW(lr=5e-6, weight_decay=1e-4, clip_norm=0.1),
    ),
    model=FLUX,
    held_out=replace(HPD, split="test"),
    metric=Reward("hps", hps_score()),
    measured_by=FlowSampling(steps=50, eta=0.0, guidance=3.5),
)

RECIPE = Recipe(
    title="Directly Aligning the Full Diffusion Trajectory with Fine-Grained Human Preference",
    arxiv="2509.06942",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="one step from a known noise gives the clean picture at any level; a reward that is a difference of prompts",
    formulas=(
        "x = σ₁ ε + (1 − σ₁) x₀, x' = x + (σ₂ − σ₁) v(x, σ₁), x̂₀ = (x' − σ₂ ε) / (1 − σ₂)",
        "r = (1 + k) r(x̂₀, wanted word) − r(x̂₀, unwanted word); exchanged where σ₂ > σ₁",
        "loss = max(0, 0.7 − r) / 2, over both branches",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim(
        "stripes, with the artefact unchanged", baseline="semantic-relative-po/ablation, ReFL on the same reward model"
    ),
    variants={"tiny/ablation": LATE},
    assumptions={
        "tiny.rewards.relative.score.discounts": "½ everywhere: something of what is liked of any picture remains",
        "tiny.rewards": "a reward model with a known bias: the world's proxy, which likes an artefact in every picture",
        "tiny.stages.direct.sample.levels": "0.4 to 0.1: where the world's pictures decide whether they are striped",
        "paper.steps": "20: what the released script comes to",
    },
)
