"""DDPO: Training Diffusion Models with Reinforcement Learning (arXiv 2305.13301).

What it changes: denoising becomes a decision process of many steps. Stochastic DDIM draws each step from a Gaussian
whose log-probability is known, so that a policy gradient with importance weights (DDPO-IS) can train on any reward.
Prompts are drawn one by one, not in groups: a sample is compared with the last rewards of its own prompt, kept over
steps. It should help over reward-weighted regression because it optimises the reward itself, step by step, and the
running statistics keep prompts of different difficulty apart.

Source: github.com/kvablack/ddpo-pytorch at 19584630 (the settings) and github.com/jannerm/ddpo at f0b6ca76. Code and
paper agree in what is computed; the clip range is tiny (1e-4) because log-probabilities are means over the latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.data.sources import Texts
from gamutrl.functional.advantages import against_past
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.models import FlowModel, Lora
from gamutrl.recipes.flow_plain import digits, paper, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.rewards.pictures import jpeg_size
from gamutrl.training.optimizer import AdamW

ANIMALS = """cat dog horse monkey rabbit zebra spider bird sheep deer cow goat lion tiger bear raccoon fox wolf lizard
beetle ant butterfly fish shark whale dolphin squirrel mouse rat snake turtle frog chicken duck goose bee pig turkey fly
llama camel bat gorilla hedgehog kangaroo"""


@dataclass
class AgainstPast:
    """A reward less the mean of its prompt's last `size` rewards, over their deviation, within ±clip, `[R]`.

    A prompt with fewer than `at_least` is compared with the whole batch.
    """

    size: int = 32
    at_least: int = 16
    clip: float = 5.0
    past: Mapping[Any, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        names = [rollout.prompt.text for rollout in batch.rollouts]
        advantage_R, self.past = against_past(
            batch["reward_R"], names, self.past, size=self.size, at_least=self.at_least
        )
        return advantage_R.clamp(-self.clip, self.clip)

    def state_dict(self) -> dict[str, Any]:
        return {"names": list(self.past), "rewards": list(self.past.values())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.past = dict(zip(state["names"], state["rewards"]))


DDIM = FlowSampling(steps=10, eta=1.0, trained=tuple(range(5)))
TINY = tiny(
    model="blobs-eps",
    sampling=DDIM,
    measured_by=FlowSampling(steps=10, eta=0.0),
    prompts_per_step=256,
    group_size=1,
    advantage=AgainstPast(),
)

PICTURES = digits(
    "unet-tiny",
    sampling=DDIM,
    steps=25,
    prompts_per_step=96,
    group_size=1,
    advantage=AgainstPast(),
)

SMALL_FILE = Reward("compressibility", jpeg_size, weight=-1.0)
PAPER = paper(
    FlowModel("stable-diffusion-v1-5/stable-diffusion-v1-5", lora=Lora(rank=4, alpha=4)),
    Texts(tuple(ANIMALS.split())),
    (SMALL_FILE,),
    sampling=FlowSampling(steps=50, eta=1.0, guidance=5.0, detach_negative=False),
    measured_by=FlowSampling(steps=50, eta=1.0, guidance=5.0),
    steps=100,
    prompts_per_step=256,
    group_size=1,
    minibatches=4,
    rows_per_forward=4,
    advantage=AgainstPast(16, 16),
    optimizer=AdamW(lr=3e-4, weight_decay=1e-4),
)

RECIPE = Recipe(
    title="Training Diffusion Models with Reinforcement Learning",
    arxiv="2305.13301",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="stochastic DDIM steps as decisions with importance weights; running statistics of each prompt's rewards",
    formulas=(
        "x' = √ᾱ' x₀ + √(1 − ᾱ' − σ²) ε_θ + σ z, σ = η √((1 − ᾱ') / (1 − ᾱ) · (1 − ᾱ / ᾱ'))",
        "A = (r − mean of the prompt's last 32) / (their std + 1e-6), within ±5",
        "loss = mean over steps of max(−ρ A, −clip(ρ, 1 ± 1e-4) A)",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("gold on held-out prompts", baseline="ddpo/ablation, normalised over the batch"),
    variants={"tiny/ablation": with_stage(TINY, advantage=AgainstPast(at_least=10**9)), "tiny/pictures": PICTURES},
    assumptions={
        "tiny.sampling": "10 steps without guidance, of which the first 5 are trained",
        "tiny/pictures": "unet-tiny draws handwritten digits, paid by how sure a small reader is of them; to the eye "
        "strokes grow bolder, and some sevens a smear that only the reader takes for one",
        "paper.data": "the repository's 45 animals for compressibility, too (it asks for 398 ImageNet classes)",
        "paper.model": "an adapter of rank 4, the library's default, as the PyTorch code has it",
    },
)
