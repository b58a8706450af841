"""Pixel Reasoner: Incentivizing Pixel-Space Reasoning with Curiosity-Driven Reinforcement Learning (2505.15966).

What it changes: a reward for being curious, counted over a prompt's group. The policy may crop pictures and select
frames; a rollout that does earns more the fewer others of its group did, down to a share of three tenths, and each call
beyond the first costs a little. A model that is clumsy with its tools gives them up, since they fail more often than
words; a bonus that fades as calls become common should keep them until they pay by themselves.

Source: github.com/TIGER-AI-Lab/Pixel-Reasoner at a3a6c3a5. A supervised stage on made-up trajectories with deliberate
errors goes before (`paper` preset: its published weights; `tiny` starts from a model that was shown such trajectories).
Advantages are the reward less its group's mean; rollouts whose group learned nothing give way to earlier ones. Code and
paper differ:
- The code's bonus is divided by the share of its group that called a tool; the paper's is not (variant `paper`).
- Released defects, mended here: whether a rollout's last call failed was read from another group's; a sum of losses
  above 10 became 1; letters after a colon could never be right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows, Split
from gamutrl.data.sources import Changed, Mixture, WorldRows
from gamutrl.data.transforms import WithSuffix
from gamutrl.data.worlds import films, render
from gamutrl.environments import looking
from gamutrl.environments.tools.frames import PickFrames
from gamutrl.functional.groups import group_mean
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import paper, tiny, with_rewards, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import Compare, maths, same_text
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.grading import boxed
from gamutrl.rewards.tags import tag_text
from gamutrl.rewards.tools import called, calls_of, curiosity_bonus, economy
from gamutrl.training.defaults import ActionWeights, ClippedSurrogate, GroupAdvantage
from gamutrl.training.optimizer import AdamW
from gamutrl.training.replay import Replay

ASK = (
    "\nUnderstand the picture or clip and the question. Decide whether a closer look would help: crop_image_normalized "
    "for pictures, select_frames for clips. Reason step by step; put the final answer in \\boxed{}."
)


def correctness(text: str, answer: Any, *, compare: Compare = maths) -> float:
    """1 if the last box's or else the tagged answer is one of the row's, 0 if not, -1 if there is none to be read."""
    given = boxed(text) or tag_text(text, which="last")
    if not given:
        return -1.0
    truths = answer if isinstance(answer, list) else [answer]
    return max(float(compare(given.lower(), str(truth).lower())) for truth in truths)


def right(text: str, answer: Any, *, compare: Compare = maths) -> float:
    """Whether the answer is one of the row's."""
    return max(0.0, correctness(text, answer, compare=compare))


@dataclass(frozen=True)
class Honest:
    """`correctness`, 0 in the place of 1 where the last call failed, `[R]`."""

    compare: Compare = maths

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        right_R = per_rollout(correctness, compare=self.compare)(batch, context)
        failed_R = torch.tensor([any(call.error for call in rollout.calls[-1:]) for rollout in batch.rollouts])
        return torch.where(failed_R & (right_R > 0.5), 0.0, right_R)


def curiosity(batch: Batch, context: Context) -> Tensor:
    """The bonus of rollouts that called a tool while few of their group did, `[R]`, as the code has it."""
    clips = [any(part.kind == "video" for part in rollout.prompt.media) for rollout in batch.rollouts]
    divisor_R = torch.where(torch.tensor(clips), 1.5, 2.0)
    return curiosity_bonus(calls_of(batch), batch.group_R, divisor=divisor_R)


def curiosity_of_paper(batch: Batch, context: Context) -> Tensor:
    """The bonus as the paper has it: half of what is missing to a share of 0.3, `[R]`."""
    used_R = (calls_of(batch) > 0).float()
    return used_R * 0.5 * (0.3 - group_mean(used_R, batch.group_R)).clamp(min=0)


def frames_of(prompt: Prompt) -> Any:
    """A film's frames; a page has none."""
    return films.frames_of(prompt) if prompt.columns.get("world") == "films" else ()


CURIOSITY = Reward("curiosity", curiosity, scope="group")
ECONOMY = Reward("economy", economy)
METHOD: dict[str, Any] = {
    "advantage": GroupAdvantage(scale="none"),
    "objective": ClippedSurrogate(low=0.2, high=0.35),
    "select": Replay(),
}


def rewarded(compare: Compare) -> tuple[Reward, ...]:
    return Reward("correctness", Honest(compare)), CURIOSITY, ECONOMY


PAGES: dict[str, Any] = {"form": "think", "low": 2, "high": 3, "side": 504, "inks": (6.0,)}
FILMS: dict[str, Any] = {"form": "think", "frames": 9, "others": 0}


def looked_at(split: Literal["train", "test"], size: int = 0) -> Changed:
    """Pages whose digits are small and films of which one frame matters, half of each."""
    parts = (WorldRows("pages", "digit", split, PAGES, size), WorldRows("films", "digit", split, FILMS, size))
    return Changed(Mixture(parts), WithSuffix(" Crop or select frames if needed."))


ON_PAGES = tiny(
    "pages",
    "digit",
    rewarded(same_text),
    Reward("accuracy", per_rollout(right, compare=same_text)),
    knobs=PAGES,
    others=(Reward("called", called),),
    model=TextModel("agent-tiny"),
    environment=looking.zoom_or_frames(
        frame=(render.SIZE, render.SIZE), square=True, calls=3, select=PickFrames(frames_of)
    ),
    steps=60,
    measured_at=1.0,
    sampling=Sampling(max_tokens=96),
    optimizer=AdamW(lr=2e-5),
    weights=ActionWeights("token"),
    **METHOD,
)
HELD_OUT = replace(ON_PAGES.evaluation, data=looked_at("test", 150))
TINY = with_stage(replace(ON_PAGES, evaluation=HELD_OUT), data=looked_at("train"))

ROWS = Columns(prompt="question", image="image", answer="answer", system=looking.CROP_OR_FRAMES)


def rows(split: Split) -> Changed:
    """The training rows as Pixel Reasoner asks them."""
    return Changed(FileRows("TIGER-Lab/PixelReasoner-RL-Data", ROWS, split=split, held_out=500), WithSuffix(ASK))


PAPER = paper(
    TextModel("TIGER-Lab/PixelReasoner-WarmStart", max_prompt_tokens=2048, gradient_checkpointing=True),
    rows("train"),
    rewarded(maths),
    Reward("accuracy", per_rollout(right)),
    held_out=rows("test"),
    steps=180,
    prompts_per_step=256,
    group_size=8,
    environment=looking.zoom_or_frames().at_most(12088),
    sampling=Sampling(max_tokens=2048, top_p=0.95),
    kl=None,
    weights=ActionWeights("token", constant=200),
    optimizer=AdamW(lr=1e-6, schedule="cosine", warmup=0.03),
    **METHOD,
)

RECIPE = Recipe(
    title="Pixel Reasoner: Incentivizing Pixel-Space Reasoning with Curiosity-Driven Reinforcement Learning",
    arxiv="2505.15966",
    kind="understanding",
    modalities=("image", "video", "text"),
    change="a bonus for calling a tool while few of the group do, and a small price on each call beyond the first",
    formulas=(
        "s = share of the group that calls; bonus = 0.25 max(0.3 − s, 0) / (2 s) with n > 0 calls (clips: / (1.5 s))",
        "r = correctness (1, 0; −1 for none; 0 if the last call failed) + bonus − 0.05 max(n − 1, 0)",
        "A = r − mean_group; loss: clipped surrogate (0.2, 0.35), summed over tokens / 200; idle rollouts give way to "
        "earlier ones, drawn in proportion to |A|",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/paper": with_rewards(TINY, curiosity=replace(CURIOSITY, score=curiosity_of_paper)),
        "paper/paper": with_rewards(PAPER, curiosity=replace(CURIOSITY, score=curiosity_of_paper)),
        "tiny/ablation": with_rewards(TINY, curiosity=replace(CURIOSITY, weight=0.0)),
        "paper/ablation": with_rewards(PAPER, curiosity=replace(CURIOSITY, weight=0.0)),
    },
    claim=Claim(
        "the share of rollouts that call a tool, and accuracy", baseline="pixel-reasoner/ablation, without the bonus"
    ),
    assumptions={
        "tiny.data": "small digits on pages, and films of which one frame shows a digit, half of each",
        "tiny.rewards": "answers are single digits, compared letter by letter",
        "tiny.weights": "the mean over tokens: dividing by 200 is for the paper's lengths",
        "tiny.kl": "0.02: a small model forgets its layout sooner",
        "paper.steps": "3 rounds of 15,000 queries at 256 a step",
        "paper.sampling": "one temperature for all turns (the code samples turns after the first at 0.9)",
        "paper.select": "the paper's replay; the published script may have filtered only",
        "paper.ask": "system prompt and guidelines say what the published ones say, in words of our own",
    },
)
