"""ViGoRL: Grounded Reinforcement Learning for Visual Reasoning (arXiv 2505.23678), with its tool.

What it changes: every step of a thought points at the picture. A warm start imitates chains that a tree search found,
some of which take a wrong way first and turn back. Then GRPO, whose layout reward asks for a point with each look and
pays for each further place: the tool shows a point's surroundings. It should help because a policy that is paid for
answers alone soon looks once, or not at all; one that is paid for other places goes on looking.

Source: github.com/Gabesarch/grounded-rl at e7970c0f, its form of several turns (rewards of the single-turn form and of
web actions stand beside the fidelity tests). Code and paper differ: the code divides advantages by the group's
deviation and pays for places without end, the paper does not divide, and pays for up to four (variant `paper`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows, Split
from gamutrl.data.sources import Changed
from gamutrl.data.transforms import WithSuffix
from gamutrl.data.worlds import render
from gamutrl.environments import looking
from gamutrl.environments.transcripts import conversation
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_rewards, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import accuracy, same_text
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.parsing import numbers
from gamutrl.rewards.tags import tag_text
from gamutrl.rewards.zooming import distinct_points, pointed_layout
from gamutrl.training.collect import Product
from gamutrl.training.defaults import KL, ActionWeights, ClippedSurrogate, GroupAdvantage, unless_cut_off
from gamutrl.training.optimizer import AdamW
from gamutrl.training.sft import SFT, Turns
from gamutrl.training.tree_search import TreeSearch

ASK = (
    " Reason step by step, each step about one place of the picture. In each turn write one <think>…</think>, and then "
    'either <tool_call>{"name": "search_coordinate", "arguments": {"coordinate": [x, y]}}</tool_call>, to see what '
    "surrounds a place closer (never nearly the same place again), or <answer>…</answer>."
)


def right(text: str, answer: str) -> float:
    """1 for the same answer, case aside; a text without the tag is its own answer."""
    return accuracy(text.lower(), answer.lower(), compare=same_text, missing="whole")


@dataclass(frozen=True)
class Pointed:
    """`pointed_layout` of each rollout's conversation."""

    each: float = 0.2
    most: int | None = None
    apart: float = 10.0

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        said = map(conversation, batch.rollouts)
        return torch.tensor([pointed_layout(s, each=self.each, most=self.most, apart=self.apart) for s in said])


def places(batch: Batch, context: Context) -> Tensor:
    """How many different places each rollout looked at: measured, not paid."""
    looked = [
        [point for call in rollout.calls if (point := numbers(call.arguments.get("coordinate"), 2))]
        for rollout in batch.rollouts
    ]
    return torch.tensor([float(len(distinct_points(points))) for points in looked])


ACCURACY = Reward("accuracy", per_rollout(right), weight=0.6)
FORMAT = Reward("format", Pointed(), weight=0.4)
PLACES = Reward("places", places, weight=0.0)
METHOD: dict[str, Any] = {
    "advantage": GroupAdvantage(eps=1e-6),
    "prepare": unless_cut_off,
    "objective": ClippedSurrogate(low=0.2, high=0.28, cap=3.0),
    "weights": ActionWeights("token"),
}

TINY = tiny(
    "pages",
    "digit",
    (ACCURACY, FORMAT),
    ACCURACY,
    knobs={"low": 2, "high": 3, "side": 504, "inks": (4.5,)},
    others=(PLACES,),
    model=TextModel("agent-tiny"),
    rows=200,
    measured_at=1.0,
    steps=40,
    change=WithSuffix(" Look at points by search_coordinate."),
    environment=looking.points(frame=(render.SIZE, render.SIZE), half=63, side=144),
    sampling=Sampling(max_tokens=96),
    kl=KL(0.02, clamp=10),
    optimizer=AdamW(lr=3e-5),
    **METHOD,
)

ROWS = Columns(prompt="problem", answer="answer")


def rows(split: Split) -> Changed:
    """The visual-search rows of the hub's gsarch/vigorl_datasets as ViGoRL asks them."""
    return Changed(FileRows("vigorl_datasets/visual_search", ROWS, split=split), WithSuffix(ASK))


def aim(turn: str) -> str:
    """The place that a turn looks at, as it is written; the turn itself where it looks nowhere."""
    return tag_text(turn, "tool_call") or turn


GRPO = paper(
    TextModel("Qwen/Qwen2.5-VL-7B-Instruct", freeze=("vision",), max_prompt_tokens=4096, gradient_checkpointing=True),
    rows("train"),
    (ACCURACY, FORMAT),
    ACCURACY,
    held_out=rows("test"),
    steps=500,
    prompts_per_step=64,
    environment=looking.points().at_most(2048),
    sampling=Sampling(max_tokens=1024, top_p=0.99, stop=("</tool_call>", "</answer>")),
    kl=KL(0.01, clamp=10),
    optimizer=AdamW(lr=1e-6, weight_decay=0.01, clip_norm=0.2, warmup=0.05),
    **METHOD,
)
PAPER = replace(
    GRPO,
    stages=(
        TreeSearch(
            rows("train"),
            ACCURACY,
            "chains",
            environment=replace(looking.points(), prefill=""),
            trains="teacher",
            rows=1500,
            most=20,
            aim=aim,
            sampling=Sampling(max_tokens=512),
        ),
        SFT(
            Product("chains"),
            Turns(),
            steps=2800,
            optimizer=AdamW(lr=1e-6, weight_decay=0.01, schedule="cosine", warmup=0.03),
            environment=looking.points(),
        ),
        *GRPO.stages,
    ),
    models=(("teacher", TextModel("Qwen/Qwen2.5-VL-72B-Instruct", max_prompt_tokens=16384)),),
)

PAID_ONCE = Reward("format", Pointed(each=0.0), weight=0.4)
AS_WRITTEN = {"format": Reward("format", Pointed(most=4), weight=0.4)}

RECIPE = Recipe(
    title="Grounded Reinforcement Learning for Visual Reasoning",
    arxiv="2505.23678",
    kind="understanding",
    change="thoughts that point: each look is at a point, and every further place looked at is paid",
    formulas=(
        "format = 1 + 0.2 (places − 1) for turns in order with readable looks, else 0; places lie 10 pixels apart",
        "r = 0.6 accuracy + 0.4 format; A = (r − mean_group) / (std_group + 1e-6)",
        "loss: surrogate clipped at 0.8 and 1.28, dual clip 3, mean over tokens; k3 KL 0.01, at most 10 each; "
        "rollouts that were cut off are left out",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": with_rewards(TINY, format=PAID_ONCE),
        "paper/ablation": with_rewards(PAPER, format=PAID_ONCE),
        "tiny/paper": with_stage(with_rewards(TINY, **AS_WRITTEN), advantage=GroupAdvantage(scale="none")),
        "paper/paper": with_stage(with_rewards(PAPER, **AS_WRITTEN), advantage=GroupAdvantage(scale="none")),
    },
    claim=Claim(
        "accuracy and places looked at, on held-out rows", baseline="vigorl/ablation, which pays for no further place"
    ),
    assumptions={
        "tiny.model": "was shown such chains, also ones that stop too early: it stands for the warm start",
        "tiny.kl": "0.02: a small model forgets its layout sooner",
        "places": "are told apart in the pixels that the model writes in: 10 of 72 in tiny, where shapes lie 24 apart",
        "paper.search": "8 walks as in the script (20 in the paper's table); of a tree at most 20 paths, about 30,000",
        "paper.data": "the hub's visual-search rows by their columns' usual names, unpacked where they lie",
        "paper.ask": "says what the published prompt says, in words of our own",
    },
)
