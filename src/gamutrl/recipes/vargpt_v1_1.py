"""VARGPT-v1.1: Improve Visual Autoregressive Large Unified Model via Iterative Instruction Tuning and Reinforcement
Learning (arXiv 2504.02949).

What it changes: a next-scale generator alternates between supervised tuning on pictures and DPO, in rounds. What is
preferred comes from elsewhere (real pictures, stronger generators), what is rejected from the model itself; a picture's
log-probability is the sum over all tokens of all scales, and the words of the prompt have no part in it. Each round of
DPO compares with the model as the round began. It should help because tuning alone never shows the model its mistakes.

Source: github.com/VARGPT-family/VARGPT-v1.1 at 8c67c263 (the trainer; no DPO data, rates or lengths were released). The
published model predicts bits (`functional.probabilities.bit_logp`), ours codes; its rounds grow from 256 to 512 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from gamutrl.core import Batch, Prompt, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import WorldRows
from gamutrl.environments import SingleTurn
from gamutrl.policies.base import Policy
from gamutrl.policies.models import NextScaleModel
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.recipes.tokens_plain import world_picture
from gamutrl.rewards.of_pictures import CLIP_SCORE, DIGIT, DIGIT_PROBABILITY
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preference import PairLoss, Preference, answered
from gamutrl.training.preset import Preset
from gamutrl.training.sft import SFT


@dataclass(frozen=True)
class Rendered:
    """A picture that fits a row of the world `pictures`, another one for each seed: a `target`."""

    def __call__(self, prompt: Prompt, seed: int) -> Any:
        return world_picture(prompt, seed)


@dataclass(frozen=True)
class Given:
    """The picture that is in a row's column: a `target`."""

    column: str = "target"

    def __call__(self, prompt: Prompt, seed: int) -> Any:
        if not isinstance(prompt.columns.get(self.column), Image.Image):
            raise ValueError(f"Row {prompt.id or '?'} has no picture {self.column!r} to learn from.")
        return prompt.columns[self.column]


@dataclass(frozen=True)
class AgainstOwn:
    """A picture from elsewhere is preferred to one that the model drew as the round began: `answers`."""

    preferred: Rendered | Given = Rendered()
    sampling: Sampling = Sampling()
    seed: int = 1

    def __call__(self, policy: Policy, prompts: Sequence[Prompt]) -> Batch:
        with policy.reference("base"):
            own: Any = policy.rollout(prompts, 1, SingleTurn(), self.sampling, seed=self.seed)
        pairs = [[self.preferred(prompt, self.seed), r.output] for prompt, r in zip(prompts, own.rollouts)]
        return answered(policy, prompts, pairs, [[1.0, 0.0]] * len(pairs))


def rounds(tuning: SFT, preference: Preference, count: int = 2) -> tuple[SFT | Preference, ...]:
    """Tuning, then preference, over and over, under names of their own."""
    named = [(replace(tuning, name=f"sft{n}"), replace(preference, name=f"dpo{n}")) for n in range(1, count + 1)]
    return tuple(stage for pair in named for stage in pair)


ROWS = 200
DATA = WorldRows("pictures", "digit")

TINY = Preset(
    NextScaleModel("var-tiny"),
    rounds(
        SFT(DATA, Rendered(), steps=30, rows_per_step=32, optimizer=AdamW(lr=3e-4)),
        Preference(DATA, AgainstOwn(), steps=20, rows_per_step=32, objective=PairLoss(), optimizer=AdamW(lr=5e-6)),
    ),
    Evaluation(
        WorldRows("pictures", "digit", "test", size=ROWS),
        DIGIT,
        (DIGIT_PROBABILITY,),
        ROWS,
        Sampling(),
        constants=(),
        batch=100,
    ),
)

PICTURES = FileRows("jackyhate/text-to-image-2M", Columns(prompt="json.prompt", image="none", target="jpg"))

PAPER = Preset(
    NextScaleModel("var-tiny"),
    rounds(
        SFT(PICTURES, Given(), steps=5000, rows_per_step=64, optimizer=AdamW(lr=5e-5, warmup=0.1, schedule="cosine")),
        Preference(PICTURES, AgainstOwn(Given()), steps=500, rows_per_step=64, optimizer=AdamW(lr=1e-6)),
    ),
    Evaluation(replace(PICTURES, split="test"), CLIP_SCORE, (), 500, Sampling(), constants=()),
    stand_in="var-tiny for VARGPT-v1.1, a language model with a generator of bits: no library has its architecture",
)

RECIPE = Recipe(
    title="VARGPT-v1.1: Improve Visual Autoregressive Large Unified Model via Iterative Instruction Tuning and RL",
    arxiv="2504.02949",
    kind="unified",
    policy="next_scale",
    modalities=("text", "image"),
    change="rounds of supervised tuning and of DPO, in which pictures from elsewhere win against the model's own",
    formulas=(
        "log π(x | c) = Σ over all tokens of all scales",
        "loss = −log σ(β [(log π − log π_ref)(preferred) − (log π − log π_ref)(own)]), β = 0.1",
        "rounds: SFT, DPO, SFT, DPO; π_ref is the model as the round began",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim(
        "digits that a reader holds for the one asked",
        baseline="supervised tuning for as many steps",
        budget="updates",
    ),
    assumptions={
        "model": "codes where the published model predicts bits; pictures of one size, where its rounds grow",
        "answers": "the model's own pictures are drawn during the round, by the model as the round began",
        "optimizer, steps": "not stated for DPO; rates of 1e-6 (paper) and what a small model needs (tiny)",
        "paper.data": "a public set of generated pictures; the paper's are not public",
        "tiny.data": "digits; scans, drawn by the renderer, are preferred",
    },
)
