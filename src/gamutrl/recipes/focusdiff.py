"""FocusDiff: Advancing Fine-Grained Text-Image Alignment for Autoregressive Visual Generation through RL (2506.05501).

What it changes: prompts come in pairs that differ in one fact, each with a true picture. The two groups of a pair are
normalised as one (Pair-GRPO), so that a picture which would fit either prompt gains nothing; and early in training the
true pictures join the groups, the prompt's own as a model and the twin's as a near miss, ever more rarely. It should
help because the difference within a pair is just the fact that models overlook. Training is on guided logits:
z = z_cond − ((g − 1) / g) z_uncond, which is the guided distribution at temperature g.

Source: github.com/wendell0218/FocusDiff at 070155b0. A released defect, mended here: only the first half of the pairs
is ever used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from gamutrl.core import Batch, Context, Prompt, Sampling, Source
from gamutrl.data.columns import Columns
from gamutrl.data.media import decode_image
from gamutrl.data.problems import DataError
from gamutrl.data.rows import FileRows
from gamutrl.functional.shaping import piecewise
from gamutrl.policies.models import TextModel
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.recipes.tokens_plain import FACTS, JANUS_PRO, paper, tiny, world_picture
from gamutrl.rewards.asking import YesProbability
from gamutrl.rewards.base import Reward
from gamutrl.training.defaults import KL, ActionWeights
from gamutrl.training.optimizer import AdamW

if TYPE_CHECKING:
    from gamutrl.training.rl import RL

Gold = Callable[[Prompt], Image.Image | None]
"""A row's true picture, None where it has none."""


def of_column(prompt: Prompt) -> Image.Image | None:
    """The picture in a row's column `gold`."""
    value = prompt.columns.get("gold")
    return None if value is None else decode_image(value)


@dataclass(frozen=True)
class Pairs:
    """Rows with two prompts (`prompt1`, `prompt2`, `image1`, `image2`) as two prompts of one pool."""

    rows: Source

    def batch(self, index: int, size: int, seed: int) -> list[Prompt]:
        if size % 2:
            raise DataError(f"Prompts come in pairs: prompts_per_step must be even, not {size}.")
        return [prompt for row in self.rows.batch(index, size // 2, seed) for prompt in _both(row)]


def _both(row: Prompt) -> list[Prompt]:
    return [
        replace(
            Prompt.ask(row.columns[f"prompt{k}"], id=f"{row.id}/{k}", gold=row.columns.get(f"image{k}")), pool=row.id
        )
        for k in (1, 2)
    ]


@dataclass(frozen=True)
class PairsWithGold:
    """Samples groups of one size, a pair's prompts in one group; now and then with the pair's true pictures.

    A `rollout`. points: (step, probability) between which the chance of true pictures runs straight. Where they join,
    each prompt has its own and its twin's in place of two sampled ones. separate: groups stay apart (plain GRPO's).
    """

    points: tuple[tuple[float, float], ...] = ((50, 1.0), (450, 0.25), (1200, 0.0))
    gold: Gold = of_column
    separate: bool = False

    def __call__(self, stage: RL, prompts: Sequence[Prompt], context: Context) -> Batch:
        policy: Any = context.models[stage.trains]
        generator = context.generator("gold")
        seed = int(context.generator("rollout").initial_seed())
        chance = piecewise(context.step, self.points) if self.points else 0.0
        context.metrics["gold/chance"] = chance
        alone: list[Prompt] = []
        joined: list[tuple[Prompt, Image.Image]] = []
        for pair in _pools(prompts):
            golds = [self.gold(prompt) for prompt in pair]
            there = [(prompt, gold) for prompt, gold in zip(pair, golds) if gold is not None]
            if len(there) == 2 and float(torch.rand((), generator=generator)) <= chance and chance > 0:
                joined += there
            else:
                alone += pair
        batches = []
        for chosen, size in ((alone, stage.group_size), ([p for p, _ in joined], stage.group_size - 2)):
            if chosen:
                batches.append(policy.rollout(chosen, size, stage.environment, stage.sampling, seed=seed))
        if joined:
            twins = [joined[k ^ 1][1] for k in range(len(joined))]
            asked = [prompt for prompt, _ in joined]
            batches.append(policy.demonstrated([*asked, *asked], [*(g for _, g in joined), *twins], stage.sampling))
        batch = Batch.concat(batches)
        names = [r.prompt.id if self.separate else r.prompt.pool or r.prompt.id for r in batch.rollouts]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return replace(batch, group_R=torch.tensor([numbers[name] for name in names]))


def _pools(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    pools: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        pools.setdefault(prompt.pool or prompt.id, []).append(prompt)
    return list(pools.values())


TINY = tiny(
    (FACTS,),
    task="twins",
    knobs={"of": "object"},
    sampling=Sampling(guidance=1.5, temperature_train=1.5),
    rows=512,
    rollout=PairsWithGold(((3, 1.0), (20, 0.25), (50, 0.0)), world_picture),
    steps=70,
    weights=ActionWeights("sequence"),
    kl=KL(0.02),
    optimizer=AdamW(lr=1.5e-4, warmup=0.1),
)

PAPER = paper(
    JANUS_PRO,
    Pairs(FileRows("midbee/FocusDiff-Data", Columns(prompt="prompt1", image="none"))),
    (Reward("matches", YesProbability("Does this image match the description: {prompt}? Answer yes or no.")),),
    sampling=Sampling(guidance=5.0, temperature_train=5.0),
    rollout=PairsWithGold(),
    models=(("judge", TextModel("OpenGVLab/InternVL2_5-8B-hf")),),
    steps=1200,
    prompts_per_step=64,
    group_size=7,
    weights=ActionWeights("sequence"),
    kl=KL(0.04),
    optimizer=AdamW(lr=1e-5, schedule="linear", warmup=0.08, end_lr_share=0.02),
)

RECIPE = Recipe(
    title="FocusDiff: Advancing Fine-Grained Text-Image Alignment for Autoregressive Visual Generation through RL",
    arxiv="2506.05501",
    kind="generation",
    policy="image_tokens",
    modalities=("text", "image"),
    change="two prompts that differ in one fact are one group, which true pictures join early in training",
    formulas=(
        "z = z_cond − ((g − 1) / g) z_uncond, g = 5",
        "A = (r − mean_pair) / (std_pair + 1e-4) over both prompts' pictures, true ones among them",
        "P(true pictures join) = 1 until step 50, 0.25 at 450, 0 from 1200, straight between",
        "loss = mean over pictures of mean over codes of −ρ A + 0.04 k3",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("pictures that show all that is asked for, on held-out twins", baseline="grpo"),
    assumptions={
        "tiny.data": "twins of one object, another colour or another shape: two objects are too much for this model",
        "tiny.rewards": "the share of facts that the world's vision program finds stands for the judge's yes",
        "tiny.sampling": "a guidance of 1.5: at 2, with 40 to 100 steps at two rates, nothing was learned",
        "paper.optimizer": "one straight line after warm-up; the code's has a knee at step 300",
        "paper.model": "the checkpoint before the paper's supervised stage, whose data are not released",
    },
)
