"""Ground-R1: Incentivizing Grounded Visual Reasoning via Reinforcement Learning (arXiv 2505.20272).

What it changes: a rollout first says where to look, in boxes that nobody labelled, and sees each one cut out of the
picture; then it answers. Reward is for the answer and for the layout of every turn, no more. It should help because a
look that shows what is asked for makes the right answer likelier, so that places are learned from answers alone.

Source: github.com/zzzhhzzz/Ground-R1 at cd8d083a, the first version of the paper. Its third version, without code,
compares rollouts with others that looked at evidence of the same scale (variant `paper`: `ScaleRelative`), so that
large boxes, which contain much, do not win by being large. Released defects, mended here:
- A letter right behind the answer's mark counted even as the beginning of a word.
- Rows of a data set with an unknown name crashed; they are compared as texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Rollout, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows, Split
from gamutrl.data.sources import Changed
from gamutrl.data.transforms import Hinted, WithSuffix
from gamutrl.data.worlds import render
from gamutrl.environments import SingleTurn, looking
from gamutrl.functional.advantages import group_normalize
from gamutrl.functional.groups import group_mean
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import (
    Compare,
    maths,
    rouge,
    same_choice,
    same_or_contained,
    same_text,
    typed_accuracy,
    word_accuracy_either,
)
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.tags import ends_with_answer, exactly_once, marks, tag_format
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW

_NUMBER = r"\s*+\d++(?:\.\d++)?\s*+"
BOX = rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]"
LOOK = ("think", "box")

ASK = (
    "Would it help to see a part of the picture closer? If so, write the part as one box [x1,y1,x2,y2] in <box></box>, "
    "in pixels of the original picture, which is {input_width} wide and {input_height} high. You will be shown that "
    "part, and go on in a new <think></think>; this may be done several times. If nothing more is needed, answer in "
    "<answer></answer>. Write <think>…</think><box>[x1,y1,x2,y2]</box> or <think>…</think><answer>…</answer>."
)


def layout(turns: Sequence[str]) -> float:
    """The share of turns that are laid out: a thought and one box, the last a thought and an answer."""
    said = [mark for tag in LOOK for mark in marks(tag)]
    looks = [ends_with_answer(turn, BOX, LOOK) and exactly_once(turn, said) == 1 for turn in turns[:-1]]
    ends = [tag_format(turn, once=True, nonempty=True) == 1 for turn in turns[-1:]]
    return sum([*looks, *ends]) / len(turns) if turns else 0.0


def layouts(batch: Batch, context: Context) -> Tensor:
    return torch.tensor([layout([turn.text for turn in rollout.turns]) for rollout in batch.rollouts])


TYPES: dict[str, Compare] = {
    **dict.fromkeys(("v7w", "gqa", "openimages"), same_choice),
    **dict.fromkeys(("vsr", "cub"), same_or_contained),
    **dict.fromkeys(("docvqa", "textcap", "textvqa", "sroie", "dude", "infographicsvqa"), word_accuracy_either),
    **dict.fromkeys(("CLEVR", "thinklite"), maths),
    "flickr30k": rouge,
}
"""How answers are compared, by a row's `dataset`."""


def right(text: str, answer: str, dataset: str | None = None) -> float:
    """How right the last answer is, by the row's data set."""
    otherwise = partial(same_text, ignore_case=True)
    return typed_accuracy(text, answer, dataset or "", compare=TYPES, default=otherwise, which="last") or 0.0


def evidence_area(rollout: Rollout) -> float | None:
    """The share of the picture that the last look showed; None without a look."""
    looks = [shown["box"] for turn in rollout.turns for shown in turn.info.get("shown", ()) if "box" in shown]
    if not looks:
        return None
    (x1, y1, x2, y2), (width, height) = looks[-1], rollout.prompt.media[0].value.size
    return (x2 - x1) * (y2 - y1) / (width * height)


def areas(batch: Batch, context: Context) -> Tensor:
    """`evidence_area` of each rollout, NaN without a look: measured, not paid."""
    found = [evidence_area(rollout) for rollout in batch.rollouts]
    return torch.tensor([float("nan") if area is None else area for area in found])


@dataclass(frozen=True)
class ScaleRelative:
    """The advantage among rollouts of one group whose evidence is of one scale, plus that of the best scale.

    bins: scales of equal width by share of the picture; rollouts without a look are a scale of their own. A scale with
    one rollout has no advantage within. Source: SRPO, version 3 of Ground-R1.
    """

    bins: int = 3
    eps: float = 1e-4

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        area_R, reward_R, group_R = areas(batch, context), batch["reward_R"], batch.group_R
        scale_R = (1 + (self.bins * area_R).nan_to_num(-1).floor()).clamp(max=self.bins).long()
        bin_R = group_R * (self.bins + 1) + scale_R
        mean_R = group_mean(reward_R, bin_R)
        best_R = torch.stack([mean_R[group_R == group].nan_to_num(-torch.inf).max() for group in group_R])
        best_scale_R = (mean_R == best_R).to(reward_R.dtype).masked_fill(reward_R.isnan(), torch.nan)
        return group_normalize(reward_R, bin_R, eps=self.eps) + group_normalize(best_scale_R, group_R, eps=self.eps)


ACCURACY = Reward("accuracy", per_rollout(right))
FORMAT = Reward("format", layouts, weight=2.0)
AREA = Reward("area", areas, weight=0.0)

TINY = tiny(
    "pages",
    "digit",
    (ACCURACY, FORMAT),
    ACCURACY,
    knobs={"low": 2, "high": 3, "side": 504, "inks": (4.5,)},
    others=(AREA,),
    model=TextModel("agent-tiny"),
    rows=200,
    measured_at=1.0,
    steps=40,
    change=WithSuffix(" Look at regions in <box></box>."),
    environment=looking.evidence(frame=(render.SIZE, render.SIZE), turns=3, square=True),
    sampling=Sampling(max_tokens=64),
    kl=KL(0.02, bound=10),
)


def rows(split: Split) -> Changed:
    """The hub's ZHZ2002/Ground-R1 as Ground-R1 asks it."""
    return Changed(
        FileRows("ZHZ2002/Ground-R1", Columns(prompt="problem", answer="solution"), split=split), Hinted(ASK)
    )


PAPER = paper(
    TextModel("Qwen/Qwen2.5-VL-7B-Instruct", max_prompt_tokens=8192, gradient_checkpointing=True),
    rows("train"),
    (ACCURACY, FORMAT),
    ACCURACY,
    held_out=rows("test"),
    steps=2000,
    prompts_per_step=4,
    environment=looking.evidence(frame=("input_width", "input_height"), instruction="{question}"),
    sampling=Sampling(max_tokens=512),
    kl=KL(0.04, bound=10),
    optimizer=AdamW(lr=1e-6, clip_norm=5.0),
)

AT_ONCE = with_stage(TINY, environment=SingleTurn())

RECIPE = Recipe(
    title="Ground-R1: Incentivizing Grounded Visual Reasoning via Reinforcement Learning",
    arxiv="2505.20272",
    kind="understanding",
    change="boxes to look at, without labels: each is shown, and only answers and layouts are paid",
    formulas=(
        "r = accuracy of the last turn + 2 · share of turns laid out (think and box; the last think and answer)",
        "A = (r − mean_group) / (std_group + 1e-4); loss as GRPO, β = 0.04, log-ratio to the reference within ±10",
        "paper (v3): A = A among the group's rollouts of one scale of evidence + A of being in the best scale",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": replace(AT_ONCE, evaluation=replace(AT_ONCE.evaluation, environment=SingleTurn())),
        "tiny/paper": with_stage(TINY, advantage=ScaleRelative()),
        "paper/paper": with_stage(PAPER, advantage=ScaleRelative()),
    },
    claim=Claim("accuracy on held-out rows", baseline="ground-r1/ablation, which answers at once"),
    assumptions={
        "rollout": "every rollout samples its own first turn; the code samples two a prompt and goes on from each four "
        "times, which saves time and makes fewer different boxes",
        "variant paper": "rollouts without a look are a scale of their own, and a scale with one rollout has no "
        "advantage within: the paper says neither; of several looks the last one counts",
        "tiny": "β 0.02: a small model forgets its layout sooner; three turns, not five; crops squared, as it sees all",
        "paper.data": "the hub's rows in the code's layout: problem, solution, image, dataset, input_width and _height",
        "paper.steps": "8,000 rows, which the authors say suffice, at four a step",
        "paper.ask": "says what the published template says, in words of our own",
    },
)
