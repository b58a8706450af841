"""VAR-GRPO: Fine-Tuning Next-Scale Visual Autoregressive Models with Group Relative Policy Optimization (2505.23331).

What it changes: GRPO's actions are the token maps of a picture that is drawn from coarse to fine. All tokens of a scale
are sampled at once given the scales before; the log-probability of a picture is the sum over all tokens of all scales.
Rewards are an aesthetic predictor and the similarity to a text that names a style, so that the model learns styles that
its training on classes hardly held. It should help because such a model samples in a few steps, and the scales that
decide style are few.

Source: the abstract, the figures and a workshop record; no code was released and no hyperparameter is stated, so all of
them are ours (`assumptions`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Batch, Context, Sampling
from gamutrl.data.classes import Classes
from gamutrl.data.sources import WorldRows
from gamutrl.data.worlds import render
from gamutrl.functional.weights import action_weights
from gamutrl.policies.models import NextScaleModel
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward, Score
from gamutrl.rewards.of_pictures import AESTHETIC, CLIP_SCORE, DIGIT_PROBABILITY
from gamutrl.rewards.outputs import picture_of
from gamutrl.rewards.shown import DigitShown
from gamutrl.training.defaults import KL, ActionWeights
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL


@dataclass(frozen=True)
class Palette:
    """How much of a picture's ink has a colour of the worlds' table, in [0, 1]: a style.

    Ink is what stands out of the ground, the commonest shade of the border; it has the colour as far as its hue goes
    that way. times: scores that this one is multiplied by.
    """

    colour: str = "yellow"
    times: tuple[Score, ...] = ()

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        share_R = torch.tensor([self.share(picture_of(rollout)) for rollout in batch.rollouts])
        for score in self.times:
            share_R = share_R * score(batch, context)
        return share_R

    def share(self, picture: Image.Image | None) -> float:
        if picture is None:
            return 0.0
        pixel_HWC = np.asarray(picture.convert("RGB"), np.float32)
        border = np.concatenate([pixel_HWC[0], pixel_HWC[-1], pixel_HWC[:, 0], pixel_HWC[:, -1]])
        ground, wanted = np.median(border, 0), np.array(render.COLOURS[self.colour], np.float32)
        ink_HW = np.abs(pixel_HWC - ground).max(-1)
        ink_HW = np.where(ink_HW > 40, ink_HW, 0)
        hue, own_HWC = wanted - wanted.mean(), pixel_HWC - pixel_HWC.mean(-1, keepdims=True)
        along_HW = own_HWC @ hue / (hue @ hue) * np.abs(wanted - ground).max()
        return float(along_HW.clip(0, ink_HW).sum() / max(1.0, float(ink_HW.sum())))


@dataclass(frozen=True)
class ScaleWeights(ActionWeights):
    """Every scale of a picture has a share of its own in the loss, whatever its number of tokens.

    sides: of the token maps. shares: one a scale, in any unit; empty: all the same.
    """

    sides: tuple[int, ...] = (1, 2, 3, 6)
    shares: tuple[float, ...] = ()

    def __call__(self, batch: Batch) -> Tensor:
        scale_T = torch.arange(len(self.sides)).repeat_interleave(torch.tensor(self.sides) ** 2)
        share_K = torch.tensor(self.shares or (1.0,) * len(self.sides))
        weight_T = (share_K / share_K.sum() / torch.tensor(self.sides) ** 2)[scale_T]
        return action_weights(batch.mask_NT, constant=1.0) * weight_T[: batch.mask_NT.shape[1]]


STYLE = Reward("style", Palette())
CLASS = replace(DIGIT_PROBABILITY, weight=2.0)
STYLED = Reward("styled", Palette(times=(DigitShown(certain=True),)))

DIGITS = WorldRows("pictures", "digit")
ROWS = 200

TINY = Preset(
    NextScaleModel("var-tiny", actions="token"),
    (
        RL(
            DIGITS,
            (CLASS, STYLE),
            steps=40,
            prompts_per_step=8,
            group_size=8,
            kl=KL(0.01),
            optimizer=AdamW(lr=2e-4),
        ),
    ),
    Evaluation(
        WorldRows("pictures", "digit", "test", size=ROWS),
        STYLED,
        (CLASS, STYLE),
        ROWS,
        Sampling(),
        constants=(),
        batch=100,
    ),
)

IMAGENET = "huggingface/label-files/imagenet-1k-id2label.json"
BEAUTY = replace(AESTHETIC, weight=0.1)
PAINTED = Classes(IMAGENET, "a vivid oil painting of a {name}")

PAPER = Preset(
    NextScaleModel("FoundationVision/var/var_d30.pth", actions="token"),
    (
        RL(
            PAINTED,
            (CLIP_SCORE, BEAUTY),
            steps=500,
            prompts_per_step=16,
            group_size=8,
            rows_per_forward=8,
            kl=KL(0.04),
            optimizer=AdamW(lr=1e-5),
        ),
    ),
    Evaluation(PAINTED, CLIP_SCORE, (BEAUTY,), 500, Sampling(), constants=()),
    save_every=50,
)

RECIPE = Recipe(
    title="Fine-Tuning Next-Scale Visual Autoregressive Models with Group Relative Policy Optimization",
    arxiv="2505.23331",
    kind="generation",
    policy="next_scale",
    modalities=("text", "image"),
    source="reconstruction",
    change="the actions are token maps from coarse to fine; rewards are beauty and the likeness to a style",
    formulas=(
        "log π(x | c) = Σ_k Σ_j log π(r_k^j | r_<k, c), all tokens j of scale k at once",
        "r = class (or similarity) + style (or beauty); A = (r − mean) / std in the group of a class",
        "loss = mean over tokens of max(−ρ A, −clip(ρ, 1 ± 0.2) A) + β k3",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("style of held-out pictures that show the right class", baseline="the model as it was trained"),
    variants={
        "tiny/paper": with_stage(TINY, weights=ScaleWeights()),
        "paper/paper": with_stage(PAPER, weights=ScaleWeights(sides=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16))),
    },
    assumptions={
        "weights": "all tokens count the same; the variant gives every scale the same share, as coarse ones are few",
        "kl, objective, optimizer, group_size, steps": "not stated: GRPO's usual values",
        "sampling": "no guidance and no truncation in training, so that what is sampled is what is trained",
        "rewards": "the predictor's score, of about 1 to 10, counts a tenth; weights are not stated",
        "tiny.style": "digits in yellow, which are 1 in 20 of those that the model was trained on",
        "tiny.class": "how probable a reader of digits holds the one that was asked for, twice: else style wins alone",
        "paper.data": "ImageNet's classes; a template of ours names the style",
    },
)
