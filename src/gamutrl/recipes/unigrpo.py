"""UniGRPO: the reinforcement learning of MMaDA: Multimodal Large Diffusion Language Models (arXiv 2505.15809).

What it changes: GRPO for masked diffusion, where an answer has no left-to-right log-probability. An answer is masked
anew for each update on it, and what counts is how likely the masked tokens are given the others; new, old and reference
see the same masks. The share that is masked spreads evenly over the updates from a random start, so that the model is
trained in every state between all masked and nearly done. It should help because that is what it meets when it answers;
masking everything always (d1) trains one of these states, and shares drawn independently make the updates noisy.

Source: the paper's Algorithm 1; github.com/Gen-Verse/dLLM-RL at 10b4fd1c, a later code of the group, is variant
`released`: two copies of each answer, masked at independent shares in [0.1, 0.9], in one update, with the KL to the
policy that sampled. The paper's own training code was not released.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import WorldRows
from gamutrl.policies.masked import MaskedSampling
from gamutrl.policies.models import MaskedModel
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.of_pictures import CLIP_SCORE, DIGIT, DIGIT_PROBABILITY, IMAGE_REWARD
from gamutrl.training.defaults import KL, GroupAdvantage
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL

TIMES = 1000
"""Into how many parts the paper divides the way from nothing masked to all."""


@dataclass(frozen=True)
class DrawnMasks:
    """Masks for every update on a batch, with what the policy and its reference say under them: a `prepare`.

    shares: "spread" (evenly from a random start to all, Algorithm 1), "around" (evenly over [0, 1) from a random start,
    as the paper's example has it), "random" (each for itself, within `low` and `high`), "full" (all tokens, d1).
    """

    shares: Literal["spread", "around", "random", "full"] = "spread"
    low: float = 0.0
    high: float = 1.0

    def __call__(self, stage: RL, batch: Batch, context: Context) -> Batch:
        policy, generator = context.models[stage.trains], context.generator("masks")
        drawn = []
        for level_N in self.levels(len(batch.rows), stage.updates_per_batch, generator).unbind(1):
            masked_NT = policy.corrupt(batch, level_N, generator)
            scored = {"masked_NT": masked_NT, "mask_NT": masked_NT, "logp_old_NT": policy.score(batch, masked_NT)}
            if isinstance(stage.kl, KL) and stage.kl.applies and stage.kl.reference != "old":
                with policy.reference(stage.kl.reference):
                    scored[stage.kl.column] = policy.score(batch, masked_NT)
            drawn.append(scored)
        return batch.with_(**{f"{name}U": torch.stack([one[name] for one in drawn], -1) for name in drawn[0]})

    def levels(self, rows: int, updates: int, generator: torch.Generator) -> Tensor:
        """The share that is masked of each row in each update, `[N, U]`."""
        start_N1 = (torch.rand(rows, 1, generator=generator) * TIMES).floor() / TIMES
        match self.shares:
            case "spread":
                return start_N1 + torch.arange(updates) / max(1, updates - 1) * (1 - start_N1)
            case "around":
                return (start_N1 + torch.arange(updates) / updates) % 1
            case "random":
                return self.low + (self.high - self.low) * torch.rand(rows, updates, generator=generator)
        return torch.ones(rows, updates)


@dataclass(frozen=True)
class MaskedCopies:
    """Every answer `times` times in one update, each copy with a mask of its own: a `prepare` (the released code)."""

    times: int = 2
    masks: DrawnMasks = DrawnMasks("random", 0.1, 0.9)

    def __call__(self, stage: RL, batch: Batch, context: Context) -> Batch:
        copies = batch.take_rows(torch.arange(len(batch.rows)).repeat_interleave(self.times))
        return self.masks(stage, copies, context)


POPULATION = GroupAdvantage(unbiased=False, eps=0.0)

ROWS = 200
FEW = MaskedSampling(unmasking=3)
"""A picture in three steps, half of it in the last: what is drawn at once does not always fit together."""

TINY = Preset(
    MaskedModel("mask-tiny"),
    (
        RL(
            WorldRows("pictures", "digit"),
            (DIGIT_PROBABILITY,),
            steps=30,
            prompts_per_step=8,
            group_size=8,
            updates_per_batch=2,
            sampling=FEW,
            prepare=DrawnMasks(),
            kl=KL(0.01),
            optimizer=AdamW(lr=3e-4, warmup=0.1),
        ),
    ),
    Evaluation(
        WorldRows("pictures", "digit", "test", size=ROWS),
        DIGIT,
        (DIGIT_PROBABILITY,),
        ROWS,
        FEW,
        constants=(),
        batch=100,
    ),
)

CAPTIONS = FileRows("yuvalkirstain/pickapic_v1_no_images", Columns(prompt="caption", image="none"))
CLIP, PREFERENCE = (replace(reward, weight=0.1) for reward in (CLIP_SCORE, IMAGE_REWARD))

PAPER = Preset(
    MaskedModel("mask-tiny"),
    (
        RL(
            CAPTIONS,
            (CLIP, PREFERENCE),
            steps=50_000,
            prompts_per_step=80,
            group_size=16,
            updates_per_batch=4,
            sampling=MaskedSampling(unmasking=50, guidance=3.5, guidance_train=1.0),
            prepare=DrawnMasks(),
            kl=KL(0.01),
            optimizer=AdamW(lr=5e-5, schedule="cosine"),
        ),
    ),
    Evaluation(
        replace(CAPTIONS, split="test"),
        CLIP,
        (PREFERENCE,),
        500,
        MaskedSampling(unmasking=50, guidance=3.5),
        constants=(),
    ),
    save_every=50,
    stand_in="mask-tiny for MMaDA-8B: no library has its architecture",
)

RELEASED = {
    "prepare": MaskedCopies(),
    "updates_per_batch": 1,
    "kl": KL(0.01, reference="old"),
    "advantage": POPULATION,
}

RECIPE = Recipe(
    title="MMaDA: Multimodal Large Diffusion Language Models (UniGRPO)",
    arxiv="2505.15809",
    kind="unified",
    policy="masked",
    modalities=("text", "image"),
    change="answers are masked anew for each update, by shares spread evenly; likelihoods are those of masked tokens",
    formulas=(
        "update n masks a share t_n of the answer, t_n = t_1 + (n − 1) / (μ − 1) (1 − t_1), t_1 ~ U[0, 1)",
        "log π(o_t) = log p(o_t | question, unmasked tokens), for masked t; the same masks for new, old and reference",
        "loss = mean over masked tokens of max(−ρ A, −clip(ρ, 1 ± 0.2) A) + β k3",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("digits that a reader holds for the one asked", baseline="grpo"),
    variants={"tiny/released": with_stage(TINY, **RELEASED), "paper/released": with_stage(PAPER, **RELEASED)},
    assumptions={
        "prepare": "the paper's formula; its worked example follows another spacing (`around`)",
        "updates_per_batch, group_size, objective, kl": "not stated in the paper; the later code's 0.2, 0.01 and 16",
        "variants.kl": "a mean over tokens, where the code divides by the number of rows only",
        "tiny.data": "digits, judged by a small reader; the paper's mathematics need a language model",
        "paper.data": "captions of Pick-a-Pic; the paper's own are not public",
    },
)
