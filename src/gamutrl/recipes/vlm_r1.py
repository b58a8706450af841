"""VLM-R1: A Stable and Generalizable R1-style Large Vision-Language Model (arXiv 2504.07615).

What it changes: plain GRPO with rewards read off the picture, chosen by what a row asks for. One box (referring
expressions): its IoU, not thresholded. All boxes of named things, which may be absent (open-vocabulary detection): AP
times min(1, true boxes / boxes written), the "odLength" reward. It should help because AP without confidences hardly
punishes boxes that find nothing, so under AP alone answers grow; the factor makes every needless box cost.

Source: github.com/om-ai-lab/VLM-R1 at 90052f47. Code and paper differ in the sampling temperature alone (1.0, 0.9:
variant `paper`). Released conventions and defects (variant `released`, where arguments reach them):
- An overlap of one pixel counts as none, boxes of one pixel included; here IoU is the plain one.
- Format of single boxes: searched for, whatever stands around it; here it is the whole text.
- Any text without boxes passed where nothing is there, here that has to be said; a single box was read from plain
  integers alone (both beside the fidelity tests only).
"""

from __future__ import annotations

from typing import Any

from gamutrl.core import Sampling
from gamutrl.data.media import MediaOptions
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed, Mixture
from gamutrl.data.transforms import WithSuffix
from gamutrl.functional.geometry import box_iou
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_rewards, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.boxes import Overlap, Size, box_count, box_score, detection_ap, detection_hits, in_answer
from gamutrl.rewards.parsing import Detection, boxes_in, json_in, numbers
from gamutrl.rewards.tags import tag_format, tag_text
from gamutrl.training.defaults import KL


def one_box(answer: Any) -> bool:
    """Whether a row asks for a single box: a list of four numbers, or one object."""
    value = json_in(answer) if isinstance(answer, str) else answer
    return isinstance(value, dict) or numbers(value, 4) is not None


def iou(
    text: str,
    answer: Any,
    frame: Size | None = None,
    answer_frame: Size | None = None,
    *,
    overlap: Overlap = box_iou,
) -> float | None:
    """IoU of the box written, for rows that ask for one."""
    return box_score(text, answer, frame, answer_frame, overlap=overlap) if one_box(answer) else None


def ap(
    text: str,
    answer: Any,
    frame: Size | None = None,
    answer_frame: Size | None = None,
    *,
    length_factor: bool = True,
) -> float | None:
    """AP of the boxes written, times how few of them were needless, for rows that ask for all."""
    if one_box(answer):
        return None
    return detection_ap(text, answer, frame, answer_frame, read=in_last_answer, length_factor=length_factor)


def layout(text: str, answer: Any, *, anywhere: bool = False) -> float:
    """1 for a think and an answer block; a single box must be an object of JSON."""
    if not one_box(answer):
        return tag_format(text)
    written = isinstance(json_in(tag_text(text, missing="empty")), dict) and bool(in_answer(text))
    return tag_format(text, before=anywhere, after=anywhere) * written


def right(text: str, answer: Any, frame: Size | None = None, answer_frame: Size | None = None) -> float:
    """Whether the one box reaches an IoU of 0.5, or the share of objects found."""
    if one_box(answer):
        return box_score(text, answer, frame, answer_frame, at_least=0.5)
    return detection_hits(text, answer, frame, answer_frame, read=in_last_answer)


def in_last_answer(text: str) -> list[Detection] | None:
    """The boxes of the last answer block; that there are none must be said, by "None" or an empty list."""
    said = tag_text(text, which="last", missing="empty")
    found = boxes_in(said)
    return found if found or said == "None" or json_in(said) == [] else None


def number_of_boxes(text: str) -> float:
    return float(len(in_last_answer(text) or ()))


def released_iou(a_N4: Any, b_M4: Any) -> Any:
    return box_iou(a_N4, b_M4, min_overlap=1, inverted="signed")


AP = Reward("ap", per_rollout(ap))
IOU = Reward("iou", per_rollout(iou))
FORMAT = Reward("format", per_rollout(layout))
METRIC = Reward("accuracy", per_rollout(right))

RELEASED = {"iou": Reward("iou", per_rollout(iou, overlap=released_iou)),
            "format": Reward("format", per_rollout(layout, anywhere=True))}  # fmt: skip

ASK = WithSuffix(
    " Think first, between <think> and </think>; then answer between <answer> and </answer>, in JSON format."
)


def rows(file: str) -> Changed:
    """A file of the hub's omlab/VLM-R1, its archives unpacked where they lie."""
    return Changed(
        FileRows(f"VLM-R1/rec_jsons_processed/{file}", split="all", media=MediaOptions(image_root="VLM-R1")), ASK
    )


TINY = tiny(
    "scenes",
    "detect",
    (AP, FORMAT),
    METRIC,
    knobs={"boxes": "bbox_2d"},
    others=(
        Reward("boxes", per_rollout(number_of_boxes)),
        Reward("count", per_rollout(box_count, read=in_last_answer)),
    ),
    sampling=Sampling(max_tokens=128),
)

PAPER = paper(
    TextModel("Qwen/Qwen2.5-VL-3B-Instruct", max_prompt_tokens=16384, gradient_checkpointing=True),
    Mixture(tuple(rows(f"{name}_train.jsonl") for name in ("refcoco", "refcocop", "refcocog"))),
    (IOU, AP, FORMAT),
    METRIC,
    held_out=rows("lisa_test.jsonl"),
    steps=600,
    prompts_per_step=16,
    sampling=Sampling(max_tokens=2048),
    kl=KL(0.04),
)

RECIPE = Recipe(
    title="VLM-R1: A Stable and Generalizable R1-style Large Vision-Language Model",
    arxiv="2504.07615",
    kind="understanding",
    change="IoU for one box; for all boxes AP × min(1, true / written), so that needless boxes cost",
    formulas=(
        "one box: r = IoU + format",
        "all boxes: r = AP[.50:.95] · min(1, n_true / n_written) + format; nothing there and none written: AP = 1",
        "loss as GRPO, β = 0.04 for one box, 0 for all boxes",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": with_rewards(TINY, ap=Reward("ap", per_rollout(ap, length_factor=False))),
        "tiny/paper": with_stage(TINY, sampling=Sampling(max_tokens=128, temperature=0.9)),
        "paper/paper": with_stage(PAPER, sampling=Sampling(max_tokens=2048, temperature=0.9)),
        "paper/released": with_rewards(PAPER, **RELEASED),
    },
    claim=Claim("AP and boxes an answer on held-out rows", baseline="vlm-r1/ablation, AP alone"),
    assumptions={
        "tiny.kl": "0.02 where the paper's detection has none: a small model forgets its layout sooner",
        "paper.data": "paths as after `git clone` of the hub's omlab/VLM-R1, its archives unpacked; its published rows "
        "are the referring ones. Detection rows in the same layout (D3) are scored by AP; their β is 0",
        "paper.ask": "the prompts say what the published ones say, in words of our own",
    },
)
