"""Active-O3: Empowering Multimodal LLMs with Active Perception via GRPO (arXiv 2505.21457).

What it changes: where to look is a decision of one step. From a small view the policy proposes up to three regions at
once; a fixed task model then works on each, close up. GRPO trains the proposals alone, by a reward of two forms: what
is known of good regions (readable, apart, neither tiny nor huge, over the true objects) and what the task model then
finds. It should help because the task's own score is rare at first, while the heuristics say something of every answer.

Source: the paper; the released code (github.com/aim-uofa/Active-o3 at 7219a373) is a demonstration whose reading of
regions is checked. Weights, the heuristics' exact forms and every GRPO setting are ours (`assumptions`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows, Split
from gamutrl.data.sources import Changed
from gamutrl.data.transforms import WithSuffix
from gamutrl.data.worlds import clutter, render
from gamutrl.environments import calls, crops
from gamutrl.environments.proposing import Proposing
from gamutrl.environments.tools.detect import Exact, FromHub
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.parsing import boxes_in
from gamutrl.rewards.regions import Regions, apart, covered, precision_and_recall, recall, sized
from gamutrl.rewards.tags import tag_format, tag_text
from gamutrl.training.defaults import KL
from gamutrl.training.preset import Preset
from gamutrl.training.rl import RL

ASK = (
    " Propose up to three regions of the picture to look at closely, where this is most likely found: as different as "
    "can be, each with its surroundings. Think between <think> and </think>, then write a JSON list of "
    '{"bbox_2d": [x1, y1, x2, y2], "label": …} between <answer> and </answer>, in thousandths of the picture.'
)


def true_boxes(prompt: Prompt) -> Regions:
    """What is to be found: the worlds' `targets`, else the boxes of the row's answer in pixels of its picture."""
    if "targets" in prompt.columns:
        return [crops.scaled(box, (render.SIZE, render.SIZE), (1, 1)) for box in prompt.columns["targets"]]
    answer = prompt.answer if isinstance(prompt.answer, str) else str(prompt.answer)
    return [crops.scaled(one.box, prompt.media[0].value.size, (1, 1)) for one in boxes_in(answer)]


@dataclass(frozen=True)
class Seen:
    """A score of what a rollout proposed (`regions`), or of what the task model saw there (`found`).

    function: takes these boxes and, unless `alone`, the true ones. sensing: what a text that nobody sampled is put
    through.
    """

    function: Callable[..., float | None]
    sensing: Proposing
    what: Literal["regions", "found"] = "regions"
    alone: bool = False

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        values = []
        for rollout in batch.rollouts:
            info = rollout.turns[-1].info if rollout.turns else {}
            if self.what not in info:
                info = self.sensing(rollout.prompt, 0).step(rollout.text).info
            boxes = [one["bbox_2d"] if self.what == "found" else one for one in info[self.what]]
            value = self.function(boxes) if self.alone else self.function(boxes, true_boxes(rollout.prompt))
            values.append(float("nan") if value is None else float(value))
        return torch.tensor(values)


def layout(text: str) -> float:
    """1 for a thought and an answer that holds boxes as JSON."""
    inside = tag_text(text, missing="empty")
    return tag_format(text) * any(True for _ in calls.flat_objects(inside, "bbox_2d"))


def named(prompt: Prompt) -> list[str]:
    """What a row of a detection set asks for."""
    return [str(prompt.columns["category"])]


def rewards(sensing: Proposing) -> tuple[tuple[Reward, ...], Reward]:
    """The two forms of reward, and the measure: the recall of what was to be found."""
    forms = (
        Reward("format", per_rollout(layout)),
        Reward("apart", Seen(apart, sensing, alone=True)),
        Reward("area", Seen(sized, sensing, alone=True)),
        Reward("coverage", Seen(covered, sensing)),
        Reward("task", Seen(precision_and_recall, sensing, "found")),
    )
    return forms, Reward("recall", Seen(recall, sensing, "found"))


NEARBY = Proposing(Exact(clutter.detect))
FORMS, RECALL = rewards(NEARBY)
TINY = tiny(
    "clutter",
    "regions",
    FORMS,
    RECALL,
    knobs={"boxes": "bbox_2d", "patches": 2, "each": 3, "others": 12, "size": 4.0, "side": 504},
    model=TextModel("agent-tiny"),
    rows=200,
    measured_at=1.0,
    steps=40,
    change=WithSuffix(" Propose regions."),
    environment=NEARBY,
    sampling=Sampling(max_tokens=128),
)

TASK_MODEL = Proposing(FromHub("IDEA-Research/grounding-dino-base"), frame=(1000, 1000), names=named)
PAPER_FORMS, PAPER_RECALL = rewards(TASK_MODEL)


def rows(split: Split) -> Changed:
    """Rows of small objects of one category, as Active-O3 asks them."""
    asked = Columns(prompt="Find all {category}.", answer="boxes")
    return Changed(FileRows("active-o3/lvis_small.jsonl", asked, split=split), WithSuffix(ASK))


PAPER = paper(
    TextModel("Qwen/Qwen2.5-VL-7B-Instruct", max_prompt_tokens=8192, gradient_checkpointing=True),
    rows("train"),
    PAPER_FORMS,
    PAPER_RECALL,
    held_out=rows("test"),
    steps=1000,
    prompts_per_step=16,
    environment=TASK_MODEL,
    sampling=Sampling(max_tokens=1300),
    kl=KL(0.04),
)


def task_alone(preset: Preset) -> Preset:
    """Plain GRPO: paid for what is found, and for no heuristic."""
    return with_stage(preset, rewards=tuple(r for r in cast(RL, preset.stages[-1]).rewards if r.name == "task"))


RECIPE = Recipe(
    title="Active-O3: Empowering Multimodal Large Language Models with Active Perception via GRPO",
    arxiv="2505.21457",
    kind="understanding",
    source="reconstruction",
    change="regions to look at, all in one step, paid by what good ones share and by what a fixed task model finds",
    formulas=(
        "r = format + apart + area + coverage + task",
        "apart = 1 − max IoU of two regions; area = share of regions of 1-50% of the picture; coverage = share of true "
        "boxes with their middle in a region; task = (AP + AR) / 2 of what is found in the regions",
        "A = (r − mean_group) / std_group; loss as GRPO with KL",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={"tiny/ablation": task_alone(TINY), "paper/ablation": task_alone(PAPER)},
    claim=Claim("recall of small objects with three regions", baseline="active-o3/ablation, the task's score alone"),
    assumptions={
        "rewards": "equal weights and these forms of the heuristics: the paper gives none",
        "rewards.task": "the mean of average precision and recall; a detection's score counts where it has one",
        "tiny.environment": "the world's exact detector is the task model: it finds what a region shows large enough",
        "paper.environment": "Grounding DINO is the task model, as in one of the paper's settings; the others use the "
        "policy itself, frozen, or SAM",
        "paper.data": "a file of image, category and boxes in pixels, made of LVIS: the sets are not released",
        "paper.rl": "8 answers a row, β = 0.04, 16 rows a step, 1,000 steps: none is published",
        "paper.ask": "says what the demonstration's prompt says, in words of our own",
    },
)
