"""Visual-RFT: Visual Reinforcement Fine-Tuning (arXiv 2503.01785).

What it changes: plain GRPO gets rewards that can be verified on the picture. Detection: how well the boxes overlap
(IoU) and whether the stated confidence agrees with being right; classification: whether the name is contained. Both
beside a reward for the think/answer layout, on very few rows, with no supervised stage. It should help because the
reward is as fine as the task (a box may be a little better), where supervised targets are one text among many.

Source: github.com/Liuziyu77/Visual-RFT at 94866331. Code and paper differ:
- IoU reward: the code divides the accepted IoUs by the larger of the two counts; the paper by the predictions' (variant
  `paper`).
- Released defects, mended here: a symbolic check of whole texts that gives 1.0 when the first y1 agrees; answer tags
  that may not hold a line break; an empty class name that is contained in every name.
- The clip range is written in the paper and absent in the code; with one update a batch it never binds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gamutrl.core import Sampling
from gamutrl.data.sources import WorldRows
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import FORMAT, paper, tiny, with_rewards
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import accuracy, contains
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.boxes import detection_confidence, detection_hits, detection_iou
from gamutrl.rewards.parsing import detections
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.sft import SFT, Column

NO_OBJECTS = "No Objects"


def holds_boxes(answer: Any) -> bool:
    """Whether a row's answer is a list of boxes (or says that there are none)."""
    return answer == NO_OBJECTS or answer == [] or bool(detections(answer))


def iou(text: str, answer: Any, frame: Any = None, answer_frame: Any = None) -> float | None:
    """How well the boxes overlap; does not apply to a row that asks for a name."""
    return detection_iou(text, answer, frame, answer_frame) if holds_boxes(answer) else None


def iou_of_predictions(text: str, answer: Any, frame: Any = None, answer_frame: Any = None) -> float | None:
    """The paper's `iou`: the mean over the boxes that were written."""
    return detection_iou(text, answer, frame, answer_frame, over="predictions") if holds_boxes(answer) else None


def confidence(text: str, answer: Any, frame: Any = None, answer_frame: Any = None) -> float | None:
    """Whether stated confidence agrees with being right; does not apply to a row that asks for a name."""
    return detection_confidence(text, answer, frame, answer_frame) if holds_boxes(answer) else None


def name(text: str, answer: Any) -> float | None:
    """Whether one name contains the other; does not apply to a row that asks for boxes."""
    return None if holds_boxes(answer) else accuracy(text, answer, compare=contains_either)


def contains_either(given: str, truth: Any) -> float:
    return contains(given, truth, either=True)


def right(text: str, answer: Any, frame: Any = None, answer_frame: Any = None) -> float:
    """The share of objects found (IoU above 0.5, over the larger count), or whether the name is right."""
    if holds_boxes(answer):
        return detection_hits(text, answer, frame, answer_frame)
    return accuracy(text, answer, compare=contains_either)


REWARDS = (
    Reward("iou", per_rollout(iou)),
    Reward("confidence", per_rollout(confidence)),
    Reward("name", per_rollout(name)),
    FORMAT,
)
PAPER_IOU = Reward("iou", per_rollout(iou_of_predictions))
METRIC = Reward("accuracy", per_rollout(right))

TINY = tiny(
    "scenes",
    "locate",
    REWARDS,
    METRIC,
    knobs={"boxes": "position"},
    steps=60,
    prompts_per_step=12,
    sampling=Sampling(max_tokens=48),
)

LABELS = SFT(
    WorldRows("scenes", "locate", "train", {"form": "think", "boxes": "position"}),
    Column(template="<think></think><answer>{value}</answer>"),
    steps=60,
    rows_per_step=12,
    optimizer=AdamW(lr=4e-5),
)

PAPER = paper(
    TextModel("Qwen/Qwen2-VL-2B-Instruct", max_prompt_tokens=1024, gradient_checkpointing=True),
    "laolao77/ViRFT_COCO_base65",
    REWARDS,
    METRIC,
    steps=200,
    prompts_per_step=16,
    sampling=Sampling(max_tokens=256),
    kl=KL(0.04),
)

RECIPE = Recipe(
    title="Visual-RFT: Visual Reinforcement Fine-Tuning",
    arxiv="2503.01785",
    kind="understanding",
    change="rewards verified on the picture: IoU and honest confidence of boxes, containment of names",
    formulas=(
        "iou = Σ accepted IoU / max(objects, predictions), or / predictions in the paper; accepted above 0.5",
        "confidence = mean of c where a box is accepted, 1 − c where it is not",
        "r = iou + confidence + format (boxes), name + format (classes)",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/paper": with_rewards(TINY, iou=PAPER_IOU),
        "paper/paper": with_rewards(PAPER, iou=PAPER_IOU),
        "tiny/ablation": replace(TINY, stages=(LABELS,)),
    },
    claim=Claim(
        "accuracy on held-out rows",
        baseline="visual-rft/ablation, supervised fine-tuning on the same rows",
        budget="updates",
    ),
    assumptions={
        "tiny.data": "the one coloured shape that a phrase fits; the zoo model was shown exact and coarse boxes alike",
        "paper.steps": "the authors say that about 200 are enough for a few hundred rows",
    },
)
