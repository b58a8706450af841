"""Video-R1: Reinforcing Video Reasoning in MLLMs (arXiv 2503.21776), with T-GRPO.

What it changes: each video is shown twice, in order and with its frames shuffled, and the shuffled showing gets a group
of half the size. If the ordered group answers about as well or better, each of its right answers earns 0.3 more; the
shuffled rollouts serve that comparison alone. It should help because a policy can answer much from single frames: only
answers that order helped are worth more than being right. Beside it: a bonus of 0.2 for right answers of a fitting
length, rewards by type of answer (letter, number, transcript, text, estimate), images mixed with videos.

Source: github.com/tulerfeng/Video-R1 at 59d65c34. Code and paper differ:
- The ordered group must reach 0.8 of the shuffled one's mean in the code, all of it in the paper (variant `paper`).
- The paper clips the ratio; the code makes one update a batch, where no clip binds.
Released defects, mended here (variant `released` has all but the first): the type of a batch's first row was taken for
all; numbers had to be written alike ("42" against "42.0" was wrong); letters had to be bare; a missing answer was an
empty one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gamutrl.core import Prompt, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows, Split
from gamutrl.data.sources import Changed, Mixture
from gamutrl.data.transforms import WithSuffix, asking, shuffle_frames
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import ACCURACY, FORMAT, paper, tiny, with_rewards
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import PROBLEM_TYPES, accuracy, same_number, same_text, typed_accuracy
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.groups import BeatsAuxiliary, LengthWindow
from gamutrl.training.auxiliary import WithAuxiliary
from gamutrl.training.defaults import KL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.sft import SFT

TYPED = Reward("accuracy", per_rollout(typed_accuracy, compare=PROBLEM_TYPES))
TEMPORAL = Reward("temporal", BeatsAuxiliary("shuffled", factor=0.8, bonus=0.3), scope="group")
LENGTH = Reward("length", LengthWindow("accuracy", low=320, high=512, bonus=0.2), scope="group")
WITH_SHUFFLED = WithAuxiliary("shuffled", shuffle_frames)

ASK = "Think aloud before you answer, as a person who ponders it and checks each step: inside <think> </think>. "
ASK_TYPE = {
    "multiple choice": "Then give the letter of the one right option, and nothing else, inside <answer> </answer>.",
    "numerical": "Then give the number (like 42 or 3.14) inside <answer> </answer>.",
    "OCR": "Then transcribe the text inside <answer> </answer>.",
    "free-form": "Then give your answer as text inside <answer> </answer>.",
    "regression": "Then give the number (like 42 or 3.14) inside <answer> </answer>.",
}


@asking
def ask(prompt: Prompt, seed: int = 0) -> Prompt:
    """The row as Video-R1 asks it: the options of a choice below the question, then how to think and to answer."""
    kind = prompt.columns.get("problem_type", "free-form")
    options = "\n".join(["\nOptions:", *prompt.columns["options"]]) if kind == "multiple choice" else ""
    return WithSuffix(options + "\n" + ASK + ASK_TYPE.get(kind, ASK_TYPE["free-form"]))(prompt, seed)


def reasoned(prompt: Prompt, seed: int) -> str:
    """What the supervised stage imitates: a row's written reasoning, then its answer in tags."""
    return f"{prompt.columns['process']}\n{prompt.answer}"


def on_order(text: str, answer: str, query: dict[str, Any] | None = None) -> float | None:
    """Accuracy on the questions of `clips` that a single frame cannot answer."""
    needs_order = query is not None and ("which" in query or query.get("asked") == "direction")
    return accuracy(text, answer, compare=same_text) if needs_order else None


def same_number_in_style(given: str, truth: Any) -> float:
    """Released: a number with a point or comma never equals one without."""
    return same_number(given, truth, same_style=True)


def rows(file: str, split: Split = "train") -> Mixture:
    """Videos and images of a file of Video-R1-data, in the proportions of Video-R1-260k."""
    parts = Columns(prompt="problem", answer="solution", image="none", video="none")
    videos = FileRows(file, replace(parts, video="path"), split, where="data_type=video", held_out=500)
    images = FileRows(file, replace(parts, image="path"), split, where="data_type=image", held_out=500)
    return Mixture((Changed(videos, ask), Changed(images, ask)), (116, 146))


SHORT = replace(LENGTH, score=LengthWindow("accuracy", low=10, high=24, bonus=0.2))
TINY = tiny(
    "clips",
    "order",
    (ACCURACY, FORMAT, TEMPORAL, SHORT),
    others=(Reward("order", per_rollout(on_order)),),
    sampling=Sampling(max_tokens=48),
    rollout=WITH_SHUFFLED,
    kl=KL(0.01, bound=10),
    optimizer=AdamW(lr=1.5e-5),
)

RL_PART = paper(
    TextModel("Qwen/Qwen2.5-VL-7B-Instruct", max_prompt_tokens=16384, gradient_checkpointing=True),
    rows("Video-R1-data/Video-R1-260k.json"),
    (TYPED, FORMAT, TEMPORAL, LENGTH),
    TYPED,
    held_out=rows("Video-R1-data/Video-R1-260k.json", "test"),
    steps=1000,
    prompts_per_step=4,
    sampling=Sampling(max_tokens=768, top_p=0.95),
    rollout=WITH_SHUFFLED,
    kl=KL(0.04, bound=10),
    optimizer=AdamW(lr=1e-6, weight_decay=0.01, schedule="cosine", clip_norm=5.0),
)
COLD_START = SFT(
    rows("Video-R1-data/Video-R1-COT-165k.json"),
    reasoned,
    steps=20_625,
    rows_per_step=8,
    optimizer=AdamW(lr=1e-6, schedule="cosine"),
)
PAPER = replace(RL_PART, stages=(COLD_START, *RL_PART.stages))

AHEAD = replace(TEMPORAL, score=BeatsAuxiliary("shuffled", factor=1.0, bonus=0.3))
BARE = {**PROBLEM_TYPES, "multiple choice": same_text, "numerical": same_number_in_style}
AS_RELEASED = Reward("accuracy", per_rollout(typed_accuracy, compare=BARE, missing="empty"))

RECIPE = Recipe(
    title="Video-R1: Reinforcing Video Reasoning in MLLMs",
    arxiv="2503.21776",
    kind="understanding",
    modalities=("video", "image", "text"),
    change="right answers earn more where a group does about as well as one that sees the frames shuffled",
    formulas=(
        "p, q = mean accuracy of G rollouts on ordered frames, of G/2 on shuffled frames",
        "temporal = 0.3 if p ≥ 0.8 q and the rollout is right (accuracy > 0.1), for videos",
        "length = 0.2 if right, with 320 to 512 tokens, and not the only right one of its group",
        "r = accuracy + format + temporal + length; loss as GRPO, + 0.04 k3 with |log-ratio| ≤ 10",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/paper": with_rewards(TINY, temporal=AHEAD),
        "paper/paper": with_rewards(PAPER, temporal=AHEAD),
        "paper/released": with_rewards(PAPER, accuracy=AS_RELEASED),
    },
    claim=Claim("accuracy on held-out questions that need the order of frames", baseline="grpo"),
    assumptions={
        "tiny.stages": "no supervised stage: the zoo model has seen demonstrations of this form",
        "tiny.rewards.length": "10 to 24 tokens: what a reasoned answer takes here; one that comes at once has 6",
        "paper.data": "paths as after `git clone` of the hub's Video-R1/Video-R1-data, its archives unpacked",
        "paper.ask": "the prompts say what the published ones say, in words of our own",
    },
)
