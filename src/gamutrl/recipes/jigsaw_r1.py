"""Jigsaw-R1: A Study of Rule-based Visual Reinforcement Learning with Jigsaw Puzzles (arXiv 2505.23590).

What it changes: the task. A picture is cut into a grid and shuffled, and the policy says where pieces belong: no labels
are needed, the difficulty is a number, and the answer cannot be known without looking. Plain GRPO with two rewards: the
share of cells that are right (partial credit), and half as much for the layout, which includes an answer of the right
kind. Sizes follow a curriculum by rows served (3×1, then 4×1). It should help because all-or-nothing rewards are nearly
always nothing on larger grids, and because relating parts of a picture carries over to other questions about space.

Source: github.com/zifuwanggg/Jigsaw-R1 at 781ebd4a. Its question types (grid, pair, options, one place, moved box) are
`gamutrl.data.jigsaw.Jigsaw`'s; the recipe's presets use the whole grid (tiny) and pairs (paper, as in the README).
Released defects, mended here:
- An overlap of boxes of one pixel counted as none (variant `released`).
- A letter was searched from the end, and a text without any came back reversed; questions with options crashed; answers
  of type "direct" never had the right format (beside the fidelity tests only).
"""

from __future__ import annotations

from typing import Any, Literal

from gamutrl.core import Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.jigsaw import Jigsaw
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed, Stages, WorldRows
from gamutrl.functional.geometry import box_iou
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_rewards, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import choice_in, same_choice, same_number
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.boxes import Overlap, box_score
from gamutrl.rewards.grids import cells_right, grid_in
from gamutrl.rewards.parsing import boxes_in
from gamutrl.rewards.tags import Tag, tag_format, tag_text
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW


def kind_of(answer: str) -> Literal["grid", "letter", "box", "number"]:
    """What a row asks for, by its answer."""
    if boxes_in(answer):
        return "box"
    return "letter" if answer.isalpha() else "grid" if " " in answer else "number"


def placed(text: str, answer: str, *, tag: Tag | None = "answer", overlap: Overlap = box_iou) -> float:
    """How much of the puzzle is right: the share of cells, the IoU of a box, or whether the letter or number is."""
    said = text.strip() if tag is None else tag_text(text, tag, missing="whole")
    match kind_of(answer):
        case "grid":
            return cells_right(grid_in(said), grid_in(answer) or [])
        case "letter":
            return same_choice(said, answer)
        case "box":
            return box_score(said, answer, read=boxes_in, overlap=overlap)
        case _:
            return same_number(said, answer, decimals=None)


def layout(text: str, answer: str, *, tag: Tag | None = "answer") -> float:
    """1 for a think and an answer block (without a tag: for the answer alone), if the answer is of the right kind."""
    said = text.strip() if tag is None else tag_text(text, tag, missing="empty")
    match kind_of(answer):
        case "grid":
            cells = len(answer.split())
            typed = len(grid_in(said, cells) or ()) == cells
        case "letter":
            typed = len(said) == 1 and choice_in(said) is not None
        case "box":
            typed = len(boxes_in(said)) == 1
        case _:
            typed = said.isascii() and said.isdigit()
    return float(typed and (tag is None or tag_format(text) == 1))


def solved(text: str, answer: str, *, tag: Tag | None = "answer") -> float:
    """1 if all of the puzzle is right."""
    return float(placed(text, answer, tag=tag) == 1)


def released_iou(a_N4: Any, b_M4: Any) -> Any:
    return box_iou(a_N4, b_M4, min_overlap=1, inverted="signed")


REWARDS = (Reward("accuracy", per_rollout(placed)), Reward("format", per_rollout(layout), weight=0.5))
AT_ONCE = (
    Reward("accuracy", per_rollout(placed, tag=None)),
    Reward("format", per_rollout(layout, tag=None), weight=0.5),
)

SMALL, LARGE = (WorldRows("puzzles", "full", "train", {"form": "think", "shape": shape}) for shape in ((2, 1), (3, 1)))

TINY = with_stage(
    tiny(
        "puzzles",
        "full",
        REWARDS,
        REWARDS[0],
        knobs={"shape": (3, 1)},
        others=(Reward("solved", per_rollout(solved)),),
        sampling=Sampling(max_tokens=48),
    ),
    data=Stages(((0, SMALL), (160, LARGE)), by="items"),
)

PICTURES = FileRows("coco/train2014", Columns(prompt="Solve the jigsaw.", answer="none"), held_out=1000)
HELD_OUT = FileRows("coco/train2014", Columns(prompt="Solve the jigsaw.", answer="none"), split="test", held_out=1000)

PAPER = paper(
    TextModel("Qwen/Qwen2.5-VL-3B-Instruct", max_prompt_tokens=16384, gradient_checkpointing=True),
    Stages(
        (
            (0, Changed(PICTURES, Jigsaw(3, 1, "pair", think=False))),
            (64_000, Changed(PICTURES, Jigsaw(4, 1, "pair", think=False))),
        ),
        by="items",
    ),
    AT_ONCE,
    AT_ONCE[0],
    held_out=Changed(HELD_OUT, Jigsaw(4, 1, "pair", think=False)),
    steps=2000,
    prompts_per_step=64,
    sampling=Sampling(max_tokens=512, top_k=50),
    kl=KL(0.04),
    optimizer=AdamW(lr=1e-6, schedule="linear"),
)

RECIPE = Recipe(
    title="Jigsaw-R1: A Study of Rule-based Visual Reinforcement Learning with Jigsaw Puzzles",
    arxiv="2505.23590",
    kind="understanding",
    change="jigsaws of any picture as the task: partial credit for cells, sizes by a curriculum of rows served",
    formulas=(
        "accuracy = cells right / cells (whole grid), 1 if the letter or number is right, IoU (box)",
        "format = 1 for the layout with an answer of the right kind",
        "r = accuracy + 0.5 format; loss as GRPO, β = 0.04",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": with_stage(with_rewards(TINY, accuracy=Reward("accuracy", per_rollout(solved))), data=LARGE),
        "paper/released": with_rewards(
            PAPER, accuracy=Reward("accuracy", per_rollout(placed, tag=None, overlap=released_iou))
        ),
    },
    claim=Claim(
        "share of cells right on the larger size", baseline="jigsaw-r1/ablation, all or nothing without curriculum"
    ),
    assumptions={
        "tiny.data": "2×1, then 3×1 after 160 rows: the paper's 3×1 then 4×1 at a size that 72 pixels bear",
        "paper.data": "a folder of COCO's train2014 pictures; 1,000 are held out",
        "paper.ask": "the questions ask what the published ones ask, in words of our own",
    },
)
