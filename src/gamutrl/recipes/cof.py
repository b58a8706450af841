"""Chain-of-Focus: Adaptive Visual Search and Zooming for Multimodal Reasoning via RL (arXiv 2505.15436).

What it changes: zooming is to be adaptive. The policy may zoom into several places a turn; what it is paid is settled
in its group: right at once outranks right after zooming, where both occur, and a wrong answer after zooming outranks a
wrong one at once. It should help because plain accuracy does not mind needless zooming, while any price on it teaches
never to zoom: here zooming costs only where another rollout of the group did without it.

Source: github.com/xtong-zhang/Chain-of-Focus at 431ff0dd, the adaptive version (v2 and v3 of the paper; v1 has plain
accuracy and format: variant `ablation`). A cold start on an agent's trajectories goes before (`paper` preset; `tiny`
starts from a model that was shown such trajectories). Released defects, mended here:
- The format sentence, whose tags tool replies repeat, was counted as the policy's own in the symbolic branch.
- A data source of an unknown name crashed.
"""

from __future__ import annotations

from dataclasses import replace
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
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import accuracy, same_text
from gamutrl.rewards.asking import JudgedAnswer
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.table import weighted_sum
from gamutrl.rewards.tags import balanced_marks, tag_text
from gamutrl.rewards.zooming import adaptive_scores
from gamutrl.training.defaults import KL, ActionWeights, GroupAdvantage
from gamutrl.training.optimizer import AdamW
from gamutrl.training.responders import Endpoint

CALL = "<tool_call>"
MOST_WORDS = 1000
"""Words of an answer that still has the right format."""

ASK = (
    " Think first. Then either look closer, once or several times, or answer. Write strictly "
    "<think>…</think> <tool_call>…</tool_call> <tool_call>…</tool_call>, or <think>…</think> <answer>…</answer>."
)


def layout(text: str) -> float:
    """1 if thoughts and answers are there, each opened as often as closed, and the last answer is not too long."""
    words = len(tag_text(text, which="last", missing="empty").split())
    return float(words <= MOST_WORDS and balanced_marks(text, ("think", "answer"), required=True))


def adaptive(batch: Batch, context: Context) -> Tensor:
    """A combine: each group's scores by rank (`adaptive_scores`); a group of one keeps its own."""
    score_R = weighted_sum(batch, context)
    for group in batch.group_R.unique():
        members = (batch.group_R == group).nonzero().flatten()
        if len(members) > 1:
            # Rounded, so that what earned the format alone is 0.1 and not a number beside it.
            scores = [round(score, 6) for score in score_R[members].tolist()]
            zoomed = [CALL in batch.rollouts[r].text for r in members.tolist()]
            score_R[members] = torch.tensor(adaptive_scores(scores, zoomed), dtype=score_R.dtype)
    return score_R


def zoomed(text: str, need: bool | None = None, *, where: bool) -> float | None:
    """Whether a rollout asked to zoom, on the rows that need it or (`where` False) on the others."""
    return float(CALL in text) if need is where else None


FORMAT = Reward("format", per_rollout(layout), weight=0.1)
RULE = Reward("accuracy", per_rollout(accuracy, compare=same_text, which="last"), weight=0.9)
JUDGE = Reward("accuracy", JudgedAnswer(), weight=0.9)
METHOD: dict[str, Any] = {
    "combine": adaptive,
    "advantage": GroupAdvantage(eps=1e-6, singleton="raw"),
    "weights": ActionWeights("token"),
}

TINY = tiny(
    "pages",
    "mixed",
    (RULE, FORMAT),
    RULE,
    knobs={"low": 2, "high": 3, "side": 504, "inks": (4.5,)},
    others=(
        Reward("zoomed_if_needed", per_rollout(zoomed, where=True)),
        Reward("zoomed_if_not", per_rollout(zoomed, where=False)),
    ),
    model=TextModel("agent-tiny"),
    rows=200,
    measured_at=1.0,
    steps=60,
    optimizer=AdamW(lr=2e-5),
    change=WithSuffix(" Zoom in on regions, or answer."),
    environment=looking.zoom_several(frame=(render.SIZE, render.SIZE), square=True),
    sampling=Sampling(max_tokens=96),
    **METHOD,
)

ROWS = Columns(prompt="prompt", image="images", answer="reward_model.ground_truth", system=looking.ZOOM_IN)


def rows(split: Split) -> Changed:
    """The training rows as Chain-of-Focus asks them."""
    return Changed(FileRows("cof/rl_multiresolution.parquet", ROWS, split=split), WithSuffix(ASK))


PAPER = replace(
    paper(
        TextModel("xintongzhang/CoF-sft-model-7b", max_prompt_tokens=25600, gradient_checkpointing=True),
        rows("train"),
        (JUDGE, FORMAT),
        JUDGE,
        held_out=rows("test"),
        steps=2340,
        prompts_per_step=64,
        group_size=6,
        environment=looking.zoom_several(instruction=ASK).at_most(32756),
        sampling=Sampling(max_tokens=8192),
        kl=KL(0.001),
        **METHOD,
    ),
    responders=(("judge", Endpoint(model="Qwen2.5-VL-72B-Instruct", temperature=0.3)),),
)

RECIPE = Recipe(
    title="Chain-of-Focus: Adaptive Visual Search and Zooming for Multimodal Reasoning via RL",
    arxiv="2505.15436",
    kind="understanding",
    change="zooming pays where the group's others could not do without it, and costs where they could",
    formulas=(
        "s = 0.9 accuracy + 0.1 format, then by rank in the group: right at once 1; right after zooming 0.8 where "
        "another was right at once, else 1; wrong after zooming 0.5; wrong at once 0.1 for the format, else 0",
        "A = (s − mean_group) / (std_group + 1e-6); loss: clipped surrogate, mean over tokens, k3 KL 0.001",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": with_stage(TINY, combine=weighted_sum),
        "paper/ablation": with_stage(PAPER, combine=weighted_sum),
    },
    claim=Claim(
        "zooms on rows that do not need it, at equal accuracy", baseline="cof/ablation, accuracy and format alone"
    ),
    assumptions={
        "tiny.data": "questions about small digits and about large shapes in place of pictures of several resolutions: "
        "half of them must be enlarged",
        "tiny.kl": "0.02: a small model forgets its layout sooner",
        "tiny.environment": "crops are grown by 1.5 as published, then squared, since the small model sees all square",
        "tiny.rewards": "a rule in place of the judge: answers are single words",
        "paper.model": "the published cold start; its 5.4k trajectories and LoRA settings are not run again here",
        "paper.data": "the rows of RL are not published: a file in the layout that the code reads",
        "paper.steps": "15 epochs of about 10,000 rows at 64 a step",
        "paper.sampling": "8,192 tokens a turn of the 32,756 that a whole response may have",
        "paper.ask": "system prompt, format sentence and judge's question say what the published ones say, in words of "
        "our own; sums and symbols go to the judge like all else",
    },
)
