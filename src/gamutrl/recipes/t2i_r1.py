"""T2I-R1: Reinforcing Image Generation with Collaborative Semantic-level and Token-level CoT (arXiv 2505.00703).

What it changes: a rollout is a plan in words, then a picture drawn from prompt and plan in a context of its own; both
are trained at once with one advantage (BiCoT-GRPO). The reward is a sum of experts that look at the picture alone: a
preference model, a detector, yes-or-no questions about attributes, and a judge. It should help because a plan settles
what is where before the first code is drawn, and because who fools one expert does not fool the others. The loss is one
mean over all words and codes, without a clip range; sampling is guided (weight 5), but what is trained is the
conditional distribution.

Source: github.com/CaraJ7/T2I-R1 at 2d9d4d1a. Released defects, mended here: "above" and "on top of" never score, nouns
of three words are never found, counting suppresses boxes in the wrong notation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Rollout, Sampling
from gamutrl.data.asked import Asked
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed
from gamutrl.data.transforms import WithPrefix, WithSuffix
from gamutrl.environments.planned import PlanThenDraw
from gamutrl.policies.models import TextModel
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.recipes.tokens_plain import DESCRIBE, FACTS, JANUS_PRO, PROMPTS, RIGHT, paper, tiny
from gamutrl.rewards.asking import YesProbability
from gamutrl.rewards.base import Reward
from gamutrl.rewards.composition import relation_score
from gamutrl.rewards.models.detector import OpenDetector
from gamutrl.rewards.models.embedding import hps_score
from gamutrl.rewards.seeing import See, Seen, see_shapes
from gamutrl.rewards.shown import look
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW

VISUALIZE = (
    WithPrefix('You are asked to generate an image based on this prompt: "'),
    WithSuffix(
        '"\nProvide a brief, precise visualization of all elements in the prompt. Include every object, attribute and '
        "relation, use at most 50 words, state only what is stated, explain nothing."
    ),
)


def as_asked(prompt: Prompt, seed: int) -> Prompt:
    """The authors' fields (`nouns`, `spatial_info`, `numeracy_info`) as GenEval's columns."""
    row = prompt.columns
    asked: dict[str, Any] = {"objects": row.get("nouns")}
    if spatial := row.get("spatial_info"):
        asked = {"objects": [spatial["obj1"], spatial["obj2"]], "relation": spatial["locality"]}
    elif numbers := row.get("numeracy_info"):
        asked = {"objects": [one["obj_name"] for one in numbers], "counts": [one["num"] for one in numbers]}
    return replace(prompt, columns={**row, **asked})


@dataclass(frozen=True)
class Questions:
    """The mean probability of "yes" over a row's `attr_nouns` (or `nouns`), each asked about the picture; 0 where a
    relation or a count is asked for, 1 where there is nothing to ask."""

    asking: YesProbability = YesProbability("{asked}?")

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        owner: list[int] = []
        questions: list[Rollout] = []
        value_R = torch.ones(len(batch.rollouts))
        for r, rollout in enumerate(batch.rollouts):
            row = rollout.prompt.columns
            if row.get("spatial_info") or row.get("numeracy_info"):
                value_R[r] = 0.0
                continue
            for noun in row.get("attr_nouns") or row.get("nouns") or ():
                asked = replace(rollout.prompt, columns={**row, "asked": noun})
                questions.append(Rollout(asked, [], output=rollout.output))
                owner.append(r)
        if questions:
            together = Batch.of([one.prompt for one in questions], questions, range(len(questions)))
            yes = self.asking(together, context)
            count = torch.bincount(torch.tensor(owner), minlength=len(value_R))
            mean = torch.zeros(len(value_R)).index_add(0, torch.tensor(owner), yes) / count.clamp(min=1)
            value_R = torch.where(count > 0, mean, value_R)
        return value_R


@dataclass(frozen=True)
class Found:
    """The detector's score: for a relation 0.2 for each object and 0.5 for how they lie, for counts 1 where one is
    right and 0.2 where it is not, else the share of objects that are there. NaN for rows that name no objects."""

    see: See = see_shapes

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        asked_R = [Asked.of(rollout.prompt.columns) for rollout in batch.rollouts]
        seen_R = look(batch, self.see, [asked.objects if asked else () for asked in asked_R])
        return torch.tensor(
            [torch.nan if asked is None else found_score(seen or (), asked) for asked, seen in zip(asked_R, seen_R)]
        )


def found_score(seen: Sequence[Seen], asked: Asked) -> float:
    """What the detector makes of one picture (`Found`)."""
    groups = [[thing for thing in seen if thing.name == name] for name in asked.objects]
    if asked.relation and len(groups) > 1:
        related = 0.0
        if groups[0] and groups[1]:
            related = relation_score(asked.relation, groups[0][0].box, groups[1][0].box)
        return 0.2 * sum(map(bool, groups[:2])) + 0.5 * related
    if any(count != 1 for count in asked.counts):
        scores = [1.0 if len(found) == count else 0.2 * bool(found) for found, count in zip(groups, asked.counts)]
        return sum(scores) / len(scores)
    return sum(map(bool, groups)) / len(groups)


@dataclass(frozen=True)
class Attributes:
    """The share of coloured objects that are there in their colour; 0 where a relation or a count is asked for."""

    see: See = see_shapes

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        asked_R = [Asked.of(rollout.prompt.columns) for rollout in batch.rollouts]
        seen_R = look(batch, self.see, [asked.objects if asked else () for asked in asked_R])
        return torch.tensor([_attributes(seen or (), asked) for asked, seen in zip(asked_R, seen_R)])


def _attributes(seen: Sequence[Seen], asked: Asked | None) -> float:
    if asked is None or asked.relation or any(count != 1 for count in asked.counts):
        return 0.0
    pairs = [(thing.name, thing.color) for thing in seen]
    return sum((name, color) in pairs for name, color in zip(asked.objects, asked.colors)) / len(asked.objects)


TINY = tiny(
    (Reward("detector", Found()), Reward("attributes", Attributes()), Reward("judge", RIGHT.score)),
    change=WithPrefix(DESCRIBE),
    environment=PlanThenDraw(fresh=True),
    sampling=Sampling(max_tokens=32),
    others=(FACTS,),
    kl=KL(0.01),
    steps=80,
)

PAPER = paper(
    JANUS_PRO,
    Changed(Changed(Changed(FileRows("CaraJ7/T2I-R1", PROMPTS), as_asked), VISUALIZE[0]), VISUALIZE[1]),
    (
        Reward("hps", hps_score()),
        Reward("attributes", Questions()),
        Reward("detector", Found(OpenDetector("IDEA-Research/grounding-dino-tiny", clip=""))),
        Reward("judge", YesProbability("Does this image accurately represent the prompt: {prompt}? Answer yes or no.")),
    ),
    environment=PlanThenDraw(fresh=True),
    sampling=Sampling(max_tokens=1024, guidance=5.0, guidance_train=1.0),
    models=(("judge", TextModel("llava-hf/llava-onevision-qwen2-7b-ov-hf")),),
    steps=1600,
    prompts_per_step=16,
    group_size=8,
    kl=KL(0.01),
    optimizer=AdamW(lr=1e-6),
)

RECIPE = Recipe(
    title="T2I-R1: Reinforcing Image Generation with Collaborative Semantic-level and Token-level CoT",
    arxiv="2505.00703",
    kind="generation",
    policy="image_tokens",
    modalities=("text", "image"),
    change="a plan in words and the picture drawn from it are one rollout, with one advantage from a sum of experts",
    formulas=(
        "r = HPS + attributes + detector + judge",
        "A = (r − mean_group) / (std_group + 1e-4), for the plan's words and the picture's codes alike",
        "loss = mean over all words and codes of −ρ A + 0.01 k3, ρ = exp(log π − sg(log π))",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("pictures that show all that is asked for, on held-out prompts", baseline="the starting checkpoint"),
    assumptions={
        "tiny.rewards": "the world's vision program is detector, questions and judge; there is no preference model",
        "tiny.sampling": "no guidance: sampled and trained are the same distribution",
        "paper.judge": "one released LLaVA-OneVision answers both kinds of question; the authors tuned their own",
        "paper.detector": "Grounding DINO as transformers has it, with its names in place of token spans",
        "paper.data": "the authors' JSON lines; their spatial and counting fields are read as GenEval's columns",
    },
)
