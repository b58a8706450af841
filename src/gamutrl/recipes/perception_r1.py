"""Perception-R1: Pioneering Perception Policy with Reinforcement Learning (arXiv 2504.07954).

What it changes: GRPO for perception alone. The policy answers at once, without thinking; rewards are physical
quantities; and where there are several objects, predictions and objects are first paired one to one so that the total
reward is largest (Hungarian matching), so that the order in which boxes are written does not matter. It should help
because paired in order, a right box in the wrong place of the list earns nothing, and because thinking adds tokens but
no sight.

Source: github.com/linkangheng/PR1 at 48d5558e, which holds the grounding task alone: the matching is from the paper.
Code and paper differ: the code squares the IoU, the paper does not (variant `paper`).
Released defects, mended here:
- The format's pattern has unescaped bars, so that any text that begins with "<", ">" or one of the marks' names passes
  (variant `released`).
- Numbers outside the marks are read as fractions of the picture; boxes in reverse order have areas below zero.
"""

from __future__ import annotations

import re
from typing import Any

from gamutrl.core import Sampling
from gamutrl.data.columns import Columns
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_rewards
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.boxes import box_count, detection_hits, matched_score
from gamutrl.rewards.parsing import Detection, boxes_in
from gamutrl.training.defaults import KL

NOTHING = "None"
_NATIVE = re.compile(
    r"(?:(?:<\|object_ref_start\|>[^<]*+<\|object_ref_end\|>)?+"
    r"<\|box_start\|>\(\d{1,4},\d{1,4}\),\(\d{1,4},\d{1,4}\)<\|box_end\|>)++"
)
_END = re.compile(r"<[^<>\s]{1,24}>\Z")
"""The token that ends a reply: raw text has it, by whichever name the model gives it."""
_SHIPPED = ("<", ">", "object_ref_start", "object_ref_end", "box_start", "box_end", "im_end")


def native_boxes(text: str) -> float:
    """1 if the answer is boxes in Qwen2-VL's own notation, each with its name or without, or "None" for none."""
    answers = (text.strip(), _END.sub("", text).strip())
    return float(any(answer == NOTHING or _NATIVE.fullmatch(answer) is not None for answer in answers))


def shipped_format(text: str) -> float:
    """What the released pattern accepts: any text that begins with a part of a mark."""
    return float(text.replace("<|endoftext|>", "").startswith(_SHIPPED))


def read(text: str) -> list[Detection] | None:
    """The boxes of an answer; that there are none must be said."""
    return boxes_in(text) or ([] if NOTHING in text else None)


def matched(power: float = 2.0) -> Reward:
    """The matched pairs' IoU to a power, over the larger count, in whichever frame both sides are written."""
    return Reward(
        "matched",
        per_rollout(matched_score, raw=True, read=read, power=power, frame=None, answer_frame=None),
    )


def found(text: str, answer: Any) -> float:
    """The share of objects found (IoU above 0.5, over the larger count)."""
    return detection_hits(text, answer, read=read)


REWARDS = (matched(), Reward("format", per_rollout(native_boxes, raw=True)))
METRIC = Reward("accuracy", per_rollout(found, raw=True))

TINY = tiny(
    "scenes",
    "detect",
    REWARDS,
    METRIC,
    knobs={"form": "plain", "boxes": "native"},
    others=(Reward("count", per_rollout(box_count, raw=True, read=read)),),
    sampling=Sampling(max_tokens=64),
)

PAPER = paper(
    TextModel("Qwen/Qwen2-VL-2B-Instruct", max_prompt_tokens=2048, gradient_checkpointing=True),
    "Kangheng/PR1-Datasets-Grounding",
    REWARDS,
    METRIC,
    columns=Columns(
        prompt="Output the bounding box of the {problem} in the image.",
        answer="solution",
        system="You are a helpful assistant. ",
    ),
    steps=357,
    prompts_per_step=14,
    sampling=Sampling(max_tokens=768),
    kl=KL(0.04),
)

RECIPE = Recipe(
    title="Perception-R1: Pioneering Perception Policy with Reinforcement Learning",
    arxiv="2504.07954",
    kind="understanding",
    change="no thinking; boxes are paired with objects so that the total reward is largest, in any order",
    formulas=(
        "σ* = argmax_σ Σ_i Φ(y_i, z_σ(i)), one to one, with Φ = IoU² (the paper: IoU)",
        "matched = Σ_i Φ(y_i, z_σ*(i)) / max(boxes, objects); nothing there and none written: 1",
        "r = matched + format; loss as GRPO",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/paper": with_rewards(TINY, matched=matched(1.0)),
        "paper/paper": with_rewards(PAPER, matched=matched(1.0)),
        "tiny/released": with_rewards(TINY, format=Reward("format", per_rollout(shipped_format, raw=True))),
        "paper/released": with_rewards(PAPER, format=Reward("format", per_rollout(shipped_format, raw=True))),
    },
    claim=Claim("accuracy and count on held-out rows", baseline="grpo"),
    assumptions={
        "rewards.matched": "the mean is over the larger of the two counts, so that boxes missed and needless boxes "
        "cost alike: the paper averages over subjects and gives no weights for its count rewards",
        "rewards.format": '"None" is well-formed: rows of the tiny preset may ask for what is not there',
        "paper.steps": "one epoch of 5,000 rows at 14 prompts a step (7 devices × 16 rollouts, 8 a prompt)",
        "paper.kl": "0.04, the trainer's default: the script sets none",
    },
)
