"""GRIT: Teaching MLLMs to Think with Images (arXiv 2505.15879), by its GRPO-GR.

What it changes: the policy writes boxes into its thought, thinks again from them, and answers, all in one turn, learned
from twenty rows without any box or reasoning to imitate. Rewards ask that boxes are there and can be read, that a
counting row has as many as it has things, that the marks stand in order, and that the answer is right. It should help
because a thought with boxes must look at the picture, and a count follows from a list of places.

Source: github.com/eric-ai-lab/GRIT at 44699c9b. Code and paper differ: the code pays at most 0.5 for marks, 1 for the
right number of boxes, and beside them for one answer mark and against repetition; the paper pays 0.5 for each pair of
marks and for boxes, and 0.5 for their number (variant `paper`). Released defects, mended here:
- Whether boxes are counted was decided by the first row of a batch, for all of it.
- A closing answer mark counted as a word of the answer; a thought was read from behind the last mark of its kind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows, Split
from gamutrl.data.sources import Changed, Mixture, WorldRows
from gamutrl.data.transforms import WithSuffix
from gamutrl.data.worlds import forms, scenes
from gamutrl.data.worlds.turns import Either, Grounded
from gamutrl.functional.geometry import box_iou
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import begun_with, paper, tiny, warm_start, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import bleu_1, same_text
from gamutrl.rewards.asking import JudgedAnswer
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.judging import positive_grade
from gamutrl.rewards.repetition import unrepeated
from gamutrl.rewards.rethinking import (
    answer_in,
    answer_mark,
    boxes_in_thought,
    grounded_thought,
    rethinking_marks,
    rethinking_pairs,
)
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.responders import Endpoint

COUNTING = ("tallyqa", "count")
"""Data sets, and tasks of the worlds, whose answer is how many things there are."""

ASK = (
    " Think first, between <think> and </think>, and give the places that matter as JSON with the key bbox_2d. Then, "
    "from your thoughts and the places, think again between <rethink> and </rethink>. Last give your answer between "
    "<answer> and </answer>."
)


def right(text: str, answer: str) -> float:
    return float("<answer>" in text) and same_text(answer_in(text), answer)


def worded(text: str, answer: str) -> float:
    return bleu_1(answer_in(text), answer)


def repetition(batch: Batch, context: Context) -> Tensor:
    spelt = [[t for turn in rollout.turns for t in turn.tokens_T.tolist()] for rollout in batch.rollouts]
    return torch.tensor([unrepeated(rollout.text, tokens) for rollout, tokens in zip(batch.rollouts, spelt)])


def boxes(text: str, answer: Any, dataset: str = "", task: str = "", *, count: float = 1.0) -> float:
    return grounded_thought(text, answer, (dataset or task) in COUNTING, count=count)


def located(text: str, facts: Any, query: dict[str, Any]) -> float:
    """How well the boxes of a thought lie on what a row of `scenes` asks about: their mean best IoU; 0 without any."""
    said, true = boxes_in_thought(text), [thing["box"] for thing in scenes.asked_about(facts, query)]
    return float(box_iou(said, true).amax(1).mean()) if said and true else float(not said and not true)


RULE = Reward("accuracy", per_rollout(right))
BLEU = Reward("bleu", per_rollout(worded), weight=0.1)
LAYOUT = (
    Reward("answer_mark", per_rollout(answer_mark)),
    Reward("repetition", repetition),
    Reward("boxes", per_rollout(boxes)),
    Reward("tags", per_rollout(rethinking_marks)),
)
AS_WRITTEN = (Reward("boxes", per_rollout(boxes, count=0.5)), Reward("tags", per_rollout(rethinking_pairs)))
KNOBS = {
    "attribute": {"form": "plain", "low": 2, "high": 4},
    "count": {"form": "plain", "low": 2, "high": 4, "most": 3},
}
SHORT_ASK = WithSuffix(" Reply <think></think><rethink></rethink><answer></answer> with boxes.")


def world(split: Split, size: int, seed: int = 0) -> Changed:
    """Questions about one shape and about how many there are, so many rows of each (0: without end)."""
    parts = [WorldRows("scenes", task, split, knobs, size, seed) for task, knobs in KNOBS.items()]  # type: ignore[arg-type]
    return Changed(Mixture(tuple(parts)), SHORT_ASK)


HALF_SHOWN = warm_start(
    world("train", 0, seed=1),
    Either(((0.5, Grounded(0.05, detour=0.15)), (0.5, Grounded(0.5, looks=False)))),
)


def _tiny() -> Any:
    preset = with_stage(
        tiny(
            "scenes",
            "attribute",
            (RULE, BLEU, *LAYOUT),
            RULE,
            knobs=KNOBS["attribute"],
            model=TextModel("agent-tiny"),
            rows=200,
            measured_at=1.0,
            steps=60,
            others=(Reward("located", per_rollout(located)),),
            sampling=Sampling(max_tokens=128),
            kl=KL(0.02),
            optimizer=AdamW(lr=2e-5),
        ),
        data=world("train", 0),
    )
    said = [answer for task, knobs in KNOBS.items() for answer in scenes.answers(task, **knobs)]
    constants = tuple(forms.write("think", answer) for answer in said)
    preset = replace(preset, evaluation=replace(preset.evaluation, data=world("test", 100), constants=constants))
    return begun_with(HALF_SHOWN, preset)


TINY = _tiny()


def rows(file: str, split: Split) -> Changed:
    """A file of the hub's yfan1997/GRIT_data, its pictures beside it, as GRIT asks it."""
    return Changed(
        FileRows(f"GRIT_data/{file}", Columns(prompt="question", answer="answer"), split=split), WithSuffix(ASK)
    )


JUDGE = Reward("accuracy", JudgedAnswer(read=positive_grade))
PAPER = replace(
    paper(
        TextModel("Qwen/Qwen2.5-VL-3B-Instruct", max_prompt_tokens=4096, gradient_checkpointing=True),
        rows("tallyqa_vsr_20_train.jsonl", "all"),
        (JUDGE, BLEU, *LAYOUT),
        JUDGE,
        held_out=Mixture((rows("vsr_val.jsonl", "all"), rows("tallyqa_val.jsonl", "all"))),
        steps=200,
        prompts_per_step=32,
        group_size=4,
        sampling=Sampling(max_tokens=1000, temperature=0.9),
        kl=KL(0.01),
        optimizer=AdamW(lr=2e-6, schedule="cosine"),
    ),
    responders=(("judge", Endpoint(model="gpt-4o", key_variable="OPENAI_API_KEY")),),
)

RECIPE = Recipe(
    title="GRIT: Teaching MLLMs to Think with Images",
    arxiv="2505.15879",
    kind="understanding",
    change="boxes inside the thought, then a second thought, from twenty rows and no demonstrations",
    formulas=(
        "r = [judged > 0] + 0.1 BLEU-1 + answer mark (≤ 0.5) + no repetition (≤ 0.5) + boxes + marks in order (≤ 0.5)",
        "boxes = 0.5 if there is one + 1 if a counting row has as many as its answer says; 0 without a second thought",
        "A = (r − mean_group) / (std_group + 1e-4); loss as GRPO without a clip, β = 0.01",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": with_stage(TINY, rewards=(RULE, BLEU)),
        "paper/ablation": with_stage(PAPER, rewards=(JUDGE, BLEU)),
        "tiny/paper": with_stage(TINY, rewards=(RULE, BLEU, *AS_WRITTEN)),
        "paper/paper": with_stage(PAPER, rewards=(JUDGE, BLEU, *AS_WRITTEN)),
    },
    claim=Claim("accuracy and places of the boxes on held-out rows", baseline="grit/ablation, paid for answers alone"),
    assumptions={
        "tiny.data": "rows without end: of twenty the small model learns the answers by heart",
        "tiny.stages.sft": "a warm start, with boxes and without: the paper needs none; the packaged model puts no "
        "boxes into thoughts about colours",
        "tiny.rewards": "a rule in place of the judge: answers are single words",
        "tiny.group_size": "8 instead of 4; β 0.02: a small model forgets its layout sooner",
        "paper.sampling": "0.9, the trainer's default; the script sets none",
        "paper.data": "files of the hub's data set by the names that its scripts give them, unpacked where they lie",
        "paper.ask": "says what the published suffix says, in words of our own, and asks for a closing answer mark too",
    },
)
