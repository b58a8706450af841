"""DeepEyes: Incentivizing "Thinking with Images" via Reinforcement Learning (arXiv 2505.14362).

What it changes: the policy may zoom into the picture within its chain of thought, and is paid for having done so only
where its answer is right. Without a bonus calls die out before they help, since a first clumsy call costs accuracy; a
bonus for any call teaches to call always. On condition it should make looking pay where looking is what makes right.

Source: github.com/Visual-Agent/DeepEyes at 6c5e7967. Plain GRPO without KL or entropy terms, the ratio capped where the
advantage is negative (dual clip), observations masked; no supervised stage. Code and paper differ:
- The weights (0.8, 0.2, 1.2) are in the code alone. Rows of mathematics have no tool, and weights of their own.
- Released: the format is a count of marks, any order will do; an answer without a tag is the whole text. Here the judge
  is asked about the last tagged answer, and a rollout without one is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Rollout, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows, Split
from gamutrl.data.sources import Changed
from gamutrl.data.transforms import WithSuffix
from gamutrl.data.worlds import render
from gamutrl.environments import looking
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import accuracy, same_text
from gamutrl.rewards.asking import JudgedAnswer
from gamutrl.rewards.base import Reward, Score, per_rollout
from gamutrl.rewards.combine import Routed
from gamutrl.rewards.table import weighted_sum
from gamutrl.rewards.tags import balanced_marks, tag_text, tag_texts
from gamutrl.training.defaults import ActionWeights, ClippedSurrogate, GroupAdvantage
from gamutrl.training.optimizer import AdamW
from gamutrl.training.responders import Endpoint

SEEN, MATHS = ("vstar", "vl_agent", "chart", "geoguessr"), ("thinklite_eureka", "xince")
"""Data sources that ask about what is to be seen, and those whose questions are mathematics."""
BOXED = ("\\boxed{", "}")
MOST_ANSWER = 1000
"""Characters from which an answer is none."""

ASK = (
    "\nThink first, call image_zoom_in_tool if you must see something closer, then answer. Write "
    "<think>…</think> <tool_call>…</tool_call> (if the tool is needed) <answer>…</answer>."
)
SYSTEM = f"You are a helpful assistant.\n\n# Tools\n{looking.ZOOM_IN}"


def layout(text: str) -> float:
    """0 where every mark is opened as often as closed and the answer is no novel, else -1."""
    tail = text.rpartition("</think>")[2]
    short = len(tag_text(text, which="last", missing="whole")) < MOST_ANSWER
    return float(short and balanced_marks(text, ("think",)) and balanced_marks(tail, ("answer",))) - 1


def looked(rollout: Rollout) -> bool:
    """Whether a call brought a picture."""
    return any(part.is_media for turn in rollout.turns for part in turn.observation)


def tool_if_right(batch: Batch, context: Context) -> Tensor:
    """1 for a rollout that looked closer and is right, `[R]`."""
    looked_R = torch.tensor([looked(rollout) for rollout in batch.rollouts])
    return (looked_R & (context.reward(batch, "accuracy") > 0.5)).float()


@dataclass(frozen=True)
class Looks:
    """Whether a rollout looked closer, `[R]`, on rows that need it or (`where` False) on the others."""

    where: bool

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        needs = batch.columns_R().get("need", [None] * len(batch.rollouts))
        values = [float(looked(r)) if need is self.where else torch.nan for r, need in zip(batch.rollouts, needs)]
        return torch.tensor(values)


def maths_layout(text: str) -> float:
    """0 where thoughts are closed and one answer stands in a box behind them, else -1."""
    answers = list(tag_texts(text.rpartition("</think>")[2], BOXED))
    return float(len(answers) == 1 and balanced_marks(text, ("think",))) - 1


def of_maths(batch: Batch) -> Tensor:
    """Which rollouts answer a row of mathematics, bool `[R]`."""
    return torch.tensor([rollout.prompt.columns.get("data_source") in MATHS for rollout in batch.rollouts])


def by_kind(seen: Score, maths: Score) -> Routed:
    """One score for rows about what is to be seen, another for rows of mathematics."""
    return Routed("data_source", ((*((name, seen) for name in SEEN), *((name, maths) for name in MATHS))))


def by_source(batch: Batch, context: Context) -> Tensor:
    """A combine: the weighted sum; on rows of mathematics 1.2 accuracy + 0.4 format."""
    maths_R = 1.2 * batch.reward("accuracy") + 0.4 * batch.reward("format")
    return torch.where(of_maths(batch), maths_R, weighted_sum(batch, context))


RULE = Reward("accuracy", per_rollout(accuracy, compare=same_text, which="last"), weight=0.8)
FORMAT = Reward("format", per_rollout(layout), weight=0.2)
TOOL = Reward("tool", tool_if_right, weight=1.2)
JUDGED = (
    Reward("accuracy", by_kind(JudgedAnswer(), JudgedAnswer(tag=BOXED)), weight=0.8),
    Reward("format", by_kind(per_rollout(layout), per_rollout(maths_layout)), weight=0.2),
)
METHOD: dict[str, Any] = {
    "advantage": GroupAdvantage(eps=1e-6, singleton="raw"),
    "objective": ClippedSurrogate(cap=3.0),
    "weights": ActionWeights("token"),
}

TINY = tiny(
    "pages",
    "mixed",
    (RULE, FORMAT, TOOL),
    RULE,
    knobs={"low": 2, "high": 3, "side": 504, "inks": (4.5,)},
    others=(
        Reward("looks_if_needed", Looks(True)),
        Reward("looks_if_not", Looks(False)),
    ),
    model=TextModel("agent-tiny"),
    change=WithSuffix(" Call image_zoom_in_tool if needed."),
    environment=looking.zoom(frame=(render.SIZE, render.SIZE), square=True),
    steps=60,
    measured_at=1.0,
    sampling=Sampling(max_tokens=96),
    optimizer=AdamW(lr=3e-5),
    **METHOD,
)

ROWS = Columns(prompt="prompt", image="images", answer="reward_model.ground_truth", system=SYSTEM)


def rows(split: Split) -> Changed:
    """The training rows as DeepEyes asks them."""
    return Changed(FileRows("ChenShawn/DeepEyes-Datasets-47k", ROWS, split=split, held_out=500), WithSuffix(ASK))


PAPER = replace(
    paper(
        TextModel("Qwen/Qwen2.5-VL-7B-Instruct", max_prompt_tokens=8192, gradient_checkpointing=True),
        rows("train"),
        (*JUDGED, TOOL),
        JUDGED[0],
        held_out=rows("test"),
        steps=80,
        prompts_per_step=256,
        group_size=16,
        environment=looking.zoom(instruction=ASK).at_most(20480),
        sampling=Sampling(max_tokens=10240),
        kl=None,
        combine=by_source,
        **METHOD,
    ),
    responders=(("judge", Endpoint(model="Qwen/Qwen2.5-72B-Instruct", temperature=0.3)),),
)

RECIPE = Recipe(
    title='DeepEyes: Incentivizing "Thinking with Images" via Reinforcement Learning',
    arxiv="2505.14362",
    kind="understanding",
    change="zooming is paid for, but only in a rollout whose answer is right",
    formulas=(
        "r = 0.8 accuracy + 0.2 (format − 1) + 1.2 [a picture came back and the answer is right]",
        "A = (r − mean_group) / (std_group + 1e-6); loss: clipped surrogate, ratio at most 3 where A < 0, token mean",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": with_stage(TINY, rewards=(RULE, FORMAT)),
        "paper/ablation": with_stage(PAPER, rewards=JUDGED),
    },
    claim=Claim(
        "accuracy on held-out rows, of which half need a closer look", baseline="deepeyes/ablation, without the bonus"
    ),
    assumptions={
        "tiny.model": "a model that was shown zooming in the same notation: three million parameters cannot find a "
        "tool's notation by themselves, as the paper's model did",
        "tiny.data": "questions about small digits and about large shapes, half of each",
        "tiny.rewards": "a rule in place of the judge: answers are single words",
        "tiny.kl": "0.02: a small model forgets its layout sooner",
        "paper.rewards": "rows of mathematics are judged like all others; the code verifies them by rule first",
        "paper.ask": "system prompt, instruction and judge's question say what the published ones say, in words of our "
        "own",
    },
)
