"""VRAG-RL: Vision-Perception-Based RAG for Visually Rich Information Understanding via RL (arXiv 2505.22019).

What it changes: the policy reads a collection of page pictures. A turn searches (the best page that it has not seen
comes back), crops what it saw from the page's full resolution, or answers. Beside a judge of the answer and the layout
it is paid for retrieval: the NDCG of the pages in the order in which they came. A rollout without a search and an
answer gets nothing. It should help because an answer can be right by luck or memory after a poor search, and a good
search can precede a wrong answer: which of both happened is seen in the pages.

Source: github.com/Alibaba-NLP/VRAG at 24f8d055. Paper and code differ, and released defects, mended here:
- The file of the reward manager does not parse (a backslash and a blank), a judge's tries are never counted down, and
  a search that finds only pages seen before has no answer: here the policy is told so.
- The converter writes a data source ("slidevqa_train") that the rewards refuse: here no source is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Rollout, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows, Split
from gamutrl.data.transforms import WithSuffix
from gamutrl.data.worlds import library, render
from gamutrl.environments import looking
from gamutrl.environments.tools.crop import View
from gamutrl.environments.tools.pages import FromModel, PageFiles, Search
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_rewards
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import same_text
from gamutrl.rewards.asking import JudgedAnswer
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.judging import tagged_verdict
from gamutrl.rewards.retrieval import ndcg
from gamutrl.rewards.table import weighted_sum
from gamutrl.rewards.tags import innermost, tag_text
from gamutrl.training.defaults import KL, ActionWeights, GroupAdvantage
from gamutrl.training.optimizer import AdamW
from gamutrl.training.responders import Endpoint

ASK = (
    "Think inside <think> and </think> whenever you get new information. If you lack some knowledge, search for pages "
    "by <search> query </search>; see a part of the page that came back enlarged by <bbox>[x1, y1, x2, y2]</bbox>; as "
    "soon as you know, answer inside <answer> and </answer>. Question: "
)
JUDGE = (
    "Question: {question}\nReference answer: {truth}\nGiven answer: {answer}\n"
    "Is the given answer right, going by the reference? Reply <judge>True</judge> or <judge>False</judge>."
)


def layout(text: str) -> float:
    """1 if it searched and answered."""
    return float(tag_text(text, "search") is not None and tag_text(text, "answer") is not None)


def right(text: str, answer: Any) -> float:
    """1 if what stands in the last answer's tags is the row's answer, word by word."""
    return same_text((innermost(text) or "").strip(), answer)


def pages_of(rollout: Rollout) -> list[str]:
    """The names of the pages that a rollout's searches brought, in order."""
    return [shown["page"] for turn in rollout.turns for shown in turn.info.get("shown", ()) if "page" in shown]


def golden_of(columns: Mapping[str, Any]) -> list[str]:
    """The pages that hold a row's answer: its column `golden`, or the pages and the file that it names."""
    if "golden" in columns:
        return list(columns["golden"])
    stem, pages = PurePath(str(columns.get("file_name") or "")).stem, columns.get("reference_page") or ()
    return [f"{stem}_{page}" for page in (pages if isinstance(pages, list | tuple) else [pages])]


def retrieved(batch: Batch, context: Context) -> Tensor:
    """The NDCG of the pages that were brought, `[R]`."""
    return torch.tensor([ndcg(pages_of(r), golden_of(r.prompt.columns)) for r in batch.rollouts])


@dataclass(frozen=True)
class Used:
    """How often a rollout used a tool without error, `[R]`."""

    tool: str

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        return torch.tensor([float(sum(c.name == self.tool and not c.error for c in r.calls)) for r in batch.rollouts])


def gated(batch: Batch, context: Context) -> Tensor:
    """A combine: the weighted sum where the layout is right, else 0."""
    return weighted_sum(batch, context) * (batch.reward("format") > 0)


FORMAT = Reward("format", per_rollout(layout), weight=0.1)
RETRIEVAL = Reward("ndcg", retrieved, weight=0.2)
RULE = Reward("judge", per_rollout(right), weight=0.7)
JUDGED = Reward("judge", JudgedAnswer(JUDGE, tagged_verdict), weight=0.7)
METHOD: dict[str, Any] = {
    "combine": gated,
    "advantage": GroupAdvantage(eps=1e-6, singleton="raw"),
    "weights": ActionWeights("token"),
}

TINY = tiny(
    "library",
    "digit",
    (RULE, FORMAT, RETRIEVAL),
    RULE,
    knobs={"pages": 24, "collections": 50, "side": 432},
    others=(Reward("searches", Used("search")), Reward("crops", Used("crop"))),
    model=TextModel("agent-tiny", freeze=("vision", "connector")),
    measured_at=1.0,
    change=WithSuffix(" Use <search></search>, <bbox></bbox>."),
    environment=looking.searching(
        Search(library.collection_of), frame=(render.SIZE, render.SIZE), square=True, view=View()
    ),
    steps=40,
    sampling=Sampling(max_tokens=64),
    optimizer=AdamW(lr=3e-5),
    **METHOD,
)

ROWS = Columns(
    prompt=ASK + "{extra_info.question}",
    answer="extra_info.answer",
    extra=tuple((name, f"extra_info.{name}") for name in ("question", "file_name", "reference_page")),
)
SHOWN = View(1.0, 28, 256 * 28**2, 512 * 28**2)
SEARCH = Search(PageFiles("vrag/pages"), FromModel("google/siglip2-so400m-patch14-384"), SHOWN)


def rows(split: Split) -> FileRows:
    """The training rows as VRAG-RL asks them."""
    return FileRows("vrag/slidevqa_train.parquet", ROWS, split=split)


PAPER = paper(
    TextModel("Qwen/Qwen2.5-VL-7B-Instruct", max_prompt_tokens=8192, gradient_checkpointing=True),
    rows("train"),
    (JUDGED, FORMAT, RETRIEVAL),
    JUDGED,
    held_out=rows("test"),
    steps=250,
    prompts_per_step=32,
    group_size=5,
    environment=looking.searching(SEARCH).at_most(10240),
    sampling=Sampling(max_tokens=2048),
    kl=KL(0.01),
    optimizer=AdamW(lr=1e-6, warmup=0.285),
    **METHOD,
)
# Where it is measured, every side of a crop is grown by a patch.
PAPER = replace(
    PAPER,
    evaluation=replace(PAPER.evaluation, environment=looking.searching(SEARCH, grow=28).at_most(10240)),
    responders=(("judge", Endpoint(model="qwen-max", temperature=0.0)),),
)

NO_RETRIEVAL = {"ndcg": replace(RETRIEVAL, weight=0.0)}

RECIPE = Recipe(
    title="VRAG-RL: Empower Vision-Perception-Based RAG for Visually Rich Information Understanding via Iterative "
    "Reasoning with Reinforcement Learning",
    arxiv="2505.22019",
    kind="understanding",
    change="searches of a collection of page pictures are paid by the rank at which the right pages come",
    formulas=(
        "r = 0.7 judge + 0.1 format + 0.2 NDCG where the rollout searched and answered, else 0",
        "NDCG = Σ [page is golden] / log2(rank + 1), over that of all golden pages first",
        "A = (r − mean_group) / (std_group + 1e-6); loss: clipped surrogate, mean over tokens, k3 KL 0.01",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": with_rewards(TINY, **NO_RETRIEVAL),
        "paper/ablation": with_rewards(PAPER, **NO_RETRIEVAL),
    },
    claim=Claim("NDCG of the pages found, at equal accuracy", baseline="vrag-rl/ablation, not paid for retrieval"),
    assumptions={
        "tiny.data": "collections of 24 generated pages, found by their words; a crop of its plate shows the digit",
        "tiny.rewards": "a rule in place of the judge: answers are digits",
        "tiny.kl": "0.02: a small model forgets its layout sooner",
        "paper.model": "the committed script's; its name tells of a supervised stage, whose data are not published",
        "paper.data": "a file in the layout that the code reads, and the pages as pictures named <file>_<page>.jpg",
        "paper.environment": "an image-text model of the hub embeds pages, in place of a service with a vector a token",
        "paper.steps": "one epoch of about 8,000 questions at 32 a step; their number is not given",
        "paper.ask": "instruction and judge's question say what the published ones say, in words of our own",
    },
)
