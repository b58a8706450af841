"""ViLaSR: Reinforcing Spatial Reasoning with Interwoven Thinking and Visual Drawing (arXiv 2506.09965).

What it changes: the policy thinks by drawing. It puts labelled boxes and arrows on any picture, sees what it drew, and
may draw a label again elsewhere. Three stages: a cold start, supervised training on its own rollouts that are right and
drew something again (reflective rejection sampling), and GRPO, where the layout is paid only if the answer is right. It
should help because places that are written down and seen decide what words alone leave vague; and because layout is
easily had, while behind the gate there is no reward for drawing well and answering wrong.

Source: github.com/AntResearchNLP/ViLaSR at 61669c02. Released defects, mended here: the tool drew a label that it
replaced once more beside the new one; single precision moved errors that lie on a bar (beside the fidelity tests only).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows, Split
from gamutrl.data.sources import Changed, WorldRows
from gamutrl.data.transforms import WithSuffix, WithSystem, asking
from gamutrl.data.worlds import render
from gamutrl.data.worlds.turns import Drawn, Either
from gamutrl.environments import looking
from gamutrl.environments.drawings import drawing_in, layout, redraws
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import begun_with, paper, tiny, warm_start, with_rewards
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import mean_relative_accuracy, number_in, same_text, typed_accuracy
from gamutrl.rewards.base import Reward
from gamutrl.rewards.combine import Gated
from gamutrl.training.collect import Collect, Product, with_turns
from gamutrl.training.defaults import ActionWeights, ClippedSurrogate, GroupAdvantage
from gamutrl.training.optimizer import AdamW
from gamutrl.training.sft import SFT, Turns

SYSTEM = (
    "Draw on the pictures to reason about space. In each turn write <think>…</think> and then either `Action: Object "
    'Mapper` and a ```json block of boxes [{"index": number of the picture, "bbox_2d": [x1, y1, x2, y2], "label": …}], '
    'or `Action: Path Tracer` and a ```json block of arrows [{"index": …, "start_point_2d": [x, y], "end_point_2d": '
    '[x, y], "label": …}]; pixels of the picture. You will see what you drew, and may draw a label again. When you '
    "are sure, write `Action: Answer` and, on the next line, <answer>…</answer>."
)
SUFFIX = {"multiple choice": "Answer with the letter of the option alone."}
OTHERWISE = "Answer with a single word, number or phrase."

RELATIVE = partial(mean_relative_accuracy, number=number_in, strict=True)
TYPES = {"multiple choice": same_text, "regression": RELATIVE, "numerical": RELATIVE}


@asking
def ask(prompt: Prompt, seed: int) -> Prompt:
    """The row as ViLaSR asks it: options below the question, which pictures there are, how to answer."""
    columns = prompt.columns
    options = columns.get("options") or ()
    pictures = f"The pictures are numbered from 1 to {len(prompt.media)}."
    lines = ["", *map(str, options), pictures, SUFFIX.get(str(columns.get("question_type")), OTHERWISE)]
    return WithSystem(SYSTEM)(WithSuffix("\n".join(lines))(prompt, seed), seed)


def right(text: str, answer: str, question_type: str | None = None) -> float:
    """How right a last turn is, by the row's type; what has none is compared as text."""
    compared = {"compare": TYPES, "default": same_text, "missing": "whole"}
    return typed_accuracy(text, answer, question_type or "", **compared) or 0.0  # type: ignore[arg-type]


def said(batch: Batch) -> list[list[str]]:
    return [[turn.text for turn in rollout.turns] for rollout in batch.rollouts]


def accuracies(batch: Batch, context: Context) -> Tensor:
    columns = batch.columns_R()
    types = columns.get("question_type") or [None] * len(batch.rollouts)
    asked = zip(said(batch), columns["answer"], types)
    return torch.tensor([right(turns[-1] if turns else "", str(answer), kind) for turns, answer, kind in asked])


def layouts(batch: Batch, context: Context) -> Tensor:
    return torch.tensor([layout(turns) for turns in said(batch)])


def reflections(batch: Batch, context: Context) -> Tensor:
    """1 for rollouts that draw some label again elsewhere: measured, not paid."""
    return torch.tensor([float(redraws(map(drawing_in, turns))) for turns in said(batch)])


def reflective(batch: Batch, context: Context) -> list[Prompt]:
    """For a collect stage: each row with its first right rollout that draws a label again, if there is one."""
    chosen_R = (batch.reward("accuracy") == 1) & (batch.reward("reflection") == 1)
    kept = {int(batch.prompt_R[r]): said(batch)[r] for r in chosen_R.nonzero().flatten().flip(0).tolist()}
    return [with_turns(batch.prompts[p], turns) for p, turns in sorted(kept.items())]


ACCURACY = Reward("accuracy", accuracies, weight=0.5)
FORMAT = Reward("format", Gated(layouts, by="accuracy"), weight=0.5)
REFLECTION = Reward("reflection", reflections, weight=0.0)
REWARDS = (ACCURACY, FORMAT, REFLECTION)
METHOD: dict[str, Any] = {
    "advantage": GroupAdvantage(eps=1e-6),
    "objective": ClippedSurrogate(low=0.2, high=0.3, cap=3.0),
    "weights": ActionWeights("token"),
}

SMALL, ASKED = {"form": "plain", "low": 2, "high": 4}, WithSuffix(" Draw boxes, then answer.")
CANVAS = looking.drawing(frame=(render.SIZE, render.SIZE), turns=4, pictures=8, width=1, labels=False)
TINY = begun_with(
    warm_start(
        Changed(WorldRows("scenes", "attribute", "train", SMALL, seed=1), ASKED),
        Either(((0.5, Drawn(0.05, detour=0.15)), (0.5, Drawn(0.5, looks=False)))),
        environment=CANVAS,
    ),
    tiny(
        "scenes",
        "attribute",
        REWARDS,
        ACCURACY,
        knobs=SMALL,
        model=TextModel("agent-tiny"),
        rows=200,
        measured_at=1.0,
        steps=40,
        change=ASKED,
        environment=CANVAS,
        sampling=Sampling(max_tokens=128),
        optimizer=AdamW(lr=2e-5),
        **METHOD,
    ),
)


def rows(split: Split) -> Changed:
    """The hub's AntResearchNLP/ViLaSR-data, unpacked where it lies, as ViLaSR asks it."""
    columns = Columns(prompt="question", image="image_path", answer="answer")
    return Changed(FileRows("ViLaSR-data/rl/vilasr_rl_data.json", columns, split=split), ask)


DRAWING = looking.drawing().at_most(13312)
SAMPLING = Sampling(max_tokens=1024)
GRPO = paper(
    TextModel("AntResearchNLP/ViLaSR-cold-start", max_prompt_tokens=5120, gradient_checkpointing=True),
    rows("train"),
    REWARDS,
    ACCURACY,
    held_out=rows("test"),
    steps=1000,
    prompts_per_step=32,
    minibatches=2,
    environment=DRAWING,
    sampling=SAMPLING,
    kl=None,
    optimizer=AdamW(lr=1e-6, weight_decay=0.01),
    **METHOD,
)
PAPER = replace(
    GRPO,
    stages=(
        Collect(rows("train"), REWARDS, reflective, "reflective", rows=32768, sampling=SAMPLING, environment=DRAWING),
        SFT(
            Product("reflective"),
            Turns(),
            steps=750,
            rows_per_step=32,
            optimizer=AdamW(lr=1e-5, schedule="cosine", warmup=0.1),
            environment=DRAWING,
        ),
        *GRPO.stages,
    ),
)
UNGATED = Reward("format", layouts, weight=0.5)

RECIPE = Recipe(
    title="Reinforcing Spatial Reasoning in Vision-Language Models with Interwoven Thinking and Visual Drawing",
    arxiv="2506.09965",
    kind="understanding",
    change="thinking by drawing: boxes and arrows that the policy sees and may draw again; layout is paid if right",
    formulas=(
        "r = 0.5 accuracy + 0.5 format if accuracy > 0, else 0",
        "accuracy: the same text, or for numbers the share of bars 0.50 … 0.95 that 1 − relative error passes",
        "A = (r − mean_group) / (std_group + 1e-6); surrogate clipped at 0.8 and 1.3, dual clip 3, mean over tokens",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={f"{name}/ablation": with_rewards(p, format=UNGATED) for name, p in (("tiny", TINY), ("paper", PAPER))},
    claim=Claim(
        "accuracy on held-out rows", baseline="vilasr/ablation, which pays for the layout of wrong answers too"
    ),
    assumptions={
        "tiny.stages.sft": "the cold start, with drawings and without; there is no reflective sampling",
        "tiny": "KL 0.02, where the script has none; colours and shapes in place of mazes, rooms, clips",
        "paper.model": "the published cold start, the first stage's outcome",
        "paper.collect": "the rule of rejection sampling is not published: right, and some label drawn again; 8 tries",
        "paper.steps": "one epoch of about 32,000 rows, which is a guess; ten turns (the code: twenty on mazes)",
        "paper.ask": "says what the published prompts say, in words of our own",
    },
)
