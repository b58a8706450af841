"""UniRL: Self-Improving Unified Multimodal Models via Supervised and Reinforcement Learning (arXiv 2505.23380).

What it changes: the model draws a picture for a prompt, then answers a question about its own picture; whether the
answer is right is the reward of both, the codes and the words. No picture is given and no other model judges. It
should help because one signal trains drawing and understanding together and keeps them in balance. What must be
watched is collusion: a model may learn to answer from what it meant to draw. So an outside reader stands beside the
model's own answers in all that is measured.

Source: the paper's text (github.com/showlab/UniRL at 66ee4843 holds evaluation only). The supervised variant, whose
gradient reaches the codes through a straight-through estimate, is not built here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.environments.planned import DrawThenAnswer
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.recipes.tokens_plain import FACTS, JANUS_PRO, RIGHT, paper, tiny
from gamutrl.rewards.answers import same_word_or_number
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.seeing import See, see_shapes
from gamutrl.rewards.shown import look
from gamutrl.training.defaults import KL, ActionWeights
from gamutrl.training.optimizer import AdamW


def own_answer(text: str, question_answer: Any) -> float | None:
    """1 if what the model says of its picture is what the prompt implies; does not apply without an answer."""
    return None if question_answer is None else same_word_or_number(text, question_answer)


OWN = Reward("own_answer", per_rollout(own_answer))


@dataclass(frozen=True)
class Coloured:
    """Whether something in the picture has the colour that is asked for, as an outside reader sees it: 1 or 0."""

    see: See = see_shapes

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        wanted_R = [set(rollout.prompt.columns["colors"]) for rollout in batch.rollouts]
        seen_R = look(batch, self.see, [()] * len(wanted_R))
        shown_R = [wanted & {thing.color for thing in seen or ()} for wanted, seen in zip(wanted_R, seen_R)]
        return torch.tensor([float(bool(shown)) for shown in shown_R])


TINY = tiny(
    (OWN,),
    environment=DrawThenAnswer(),
    sampling=Sampling(max_tokens=8),
    metric=OWN,
    others=(Reward("coloured", Coloured()), FACTS, RIGHT),
    weights=ActionWeights("sequence"),
    kl=KL(0.04),
    optimizer=AdamW(lr=1e-4, warmup=0.1),
)

PAPER = paper(
    JANUS_PRO,
    FileRows("showlab/UniRL", Columns(prompt="prompt", image="none", extra=(("question_answer", "answer"),))),
    (OWN,),
    environment=DrawThenAnswer(),
    sampling=Sampling(max_tokens=100),
    steps=500,
    prompts_per_step=8,
    group_size=8,
    weights=ActionWeights("sequence"),
    kl=KL(0.04),
    optimizer=AdamW(lr=1e-5),
)

RECIPE = Recipe(
    title="UniRL: Self-Improving Unified Multimodal Models via Supervised and Reinforcement Learning",
    arxiv="2505.23380",
    kind="unified",
    policy="image_tokens",
    modalities=("text", "image"),
    source="paper",
    change="the model answers a question about the picture that it drew; the answer rewards codes and words alike",
    formulas=(
        "r = 1 if the model's answer about its own picture is the prompt's, else 0",
        "A = (r − mean_group) / (std_group + 1e-4), for the codes and for the answer's words",
        "loss = mean over rows of mean over actions of −min(ρ A, clip(ρ, 0.8, 1.2) A) + 0.04 k3",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("own answers that are right, and the asked colour by an outside reader", baseline="the starting point"),
    assumptions={
        "reward": "the normalised answer must be the row's; the paper does not say how half-right answers count",
        "clip, kl, group": "0.2, 0.04 and 8: the paper gives no values for the first two",
        "tiny.data": "questions ask for the colour: this model reads 98% of colours and no shapes (21%, chance) in "
        "pictures of kinds that it was not trained on, so an answer about a shape would reward nothing",
        "tiny.environment": "Janus looks at its picture through its understanding tower; Show-o reads the codes",
        "paper.data": "prompts with questions after GenEval's six kinds, as the released test file has them",
        "paper.steps": "the paper trains until the reward has converged",
    },
)
