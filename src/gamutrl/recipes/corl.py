"""CoRL: Co-Reinforcement Learning for Unified Multimodal Understanding and Generation (arXiv 2505.17534).

What it changes: each row yields two groups at once, pictures drawn from its caption and answers to a question about its
real picture. The reward of picture i and that of answer i are added and normalised together, so one advantage drives
both. Rewards of pictures are cheap: how near the picture is to the real one and to its caption (a cycle), and how well
picture and caption match in the policy's own hidden space. It should help because both skills share one
representation: trained together they pull it the same way.

Source: github.com/mm-vl/ULM-R1 at d78d34f5, first stage. Released defects, mended here: codes are scored against the
hidden states of their own places instead of the places before; rules for options are never reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.media import decode_image
from gamutrl.data.rows import FileRows
from gamutrl.environments import SingleTurn
from gamutrl.environments.planned import Answer
from gamutrl.functional.advantages import group_normalize
from gamutrl.policies.unified import Task, by_twin, seen_beside, side_by_side, tasks_of, with_picture
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.recipes.tokens_plain import FACTS, JANUS_PRO, paper, tiny, world_picture
from gamutrl.rewards.alignment import token_matching
from gamutrl.rewards.answers import same_word_or_number, soft_jaccard
from gamutrl.rewards.base import Reward, Score, per_rollout
from gamutrl.rewards.models.embedding import ClipScore
from gamutrl.rewards.outputs import Only, pixels
from gamutrl.rewards.shown import Shown
from gamutrl.rewards.tags import tag_format, tag_text
from gamutrl.training.defaults import ActionWeights
from gamutrl.training.optimizer import AdamW

if TYPE_CHECKING:
    from gamutrl.training.rl import RL

Real = Callable[[Prompt], Image.Image]
"""A row's real picture."""


def of_column(prompt: Prompt) -> Image.Image:
    """The picture in a row's column `real_image`."""
    return decode_image(prompt.columns["real_image"])


@dataclass(frozen=True)
class DrawAndAnswer:
    """Two groups a row, pictures of its prompt and answers to its question about its real picture. A `rollout`."""

    real: Real
    question: str = "question"
    before: str = ""

    def __call__(self, stage: Any, prompts: Sequence[Prompt], context: Context) -> Batch:
        for prompt in prompts:
            if self.question not in prompt.columns:
                there = ", ".join(prompt.columns) or "none"
                raise ValueError(
                    f"Row {prompt.id} has no question about its picture in a column {self.question} (columns: "
                    f"{there}); name it with --columns '{self.question}=…'."
                )
        asked = [with_picture(p, self.real(p), f"{self.before}{p.columns[self.question]}") for p in prompts]
        tasks = (Task(prompts, SingleTurn(), stage.sampling), Task(asked, Answer(), stage.sampling))
        seed = int(context.generator("rollout").initial_seed())
        return side_by_side(context.models[stage.trains], tasks, stage.group_size, seed)

    def rollouts(self, stage: RL) -> int:
        """How many rollouts a prompt costs."""
        return 2 * stage.group_size


@dataclass(frozen=True)
class NearReal:
    """1 − the mean absolute difference between picture and real picture."""

    real: Real

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        values = []
        for rollout in batch.rollouts:
            real = self.real(rollout.prompt).resize(rollout.output.size)
            values.append(1 - (pixels(rollout.output) - pixels(real)).abs().mean())
        return torch.stack(values)


@dataclass(frozen=True)
class OwnSpace:
    """How well a picture's tokens and its prompt's match in the policy's own hidden states, in [-1, 1]."""

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        drawn, said = [r.output for r in batch.rollouts], [r.prompt.text for r in batch.rollouts]
        return torch.stack([token_matching(*states).cpu() for states in seen_beside(context.policy, drawn, said)])


def answered(text: str, question_answer: Any) -> float:
    """1 for the row's answer, else the share of words that both have."""
    said = tag_text(text, missing="whole")
    return same_word_or_number(said, question_answer) or soft_jaccard(said.rstrip(".,!?"), question_answer)


@dataclass(frozen=True)
class Together:
    """One advantage for picture i and answer i, from r_picture + weight · r_answer over the group.

    separate: each from its own group (the paper's ablation).
    """

    weight: float = 0.8
    separate: bool = False

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        reward_R, group_R = batch["reward_R"], batch.group_R
        if self.separate:
            return group_normalize(reward_R, group_R)
        picture_W, answer_W = by_twin(batch, reward_R).unbind(1)
        twin_R = torch.tensor([rollout.info["twin"] for rollout in batch.rollouts])
        drew_R = tasks_of(batch) == 0
        group_W = torch.zeros(len(picture_W), dtype=torch.long).index_put((twin_R[drew_R],), group_R[drew_R])
        return group_normalize(picture_W + self.weight * answer_W, group_W)[twin_R]


def rewards(real: Real, caption: Score) -> tuple[Reward, ...]:
    """The stage's four: a cycle of two terms, the match in the policy's own space, the answer and its layout."""
    return (
        Reward("caption", Only("image", caption)),
        Reward("near", Only("image", NearReal(real))),
        Reward("match", Only("image", OwnSpace())),
        Reward("answer", Only("text", per_rollout(answered))),
        Reward("format", Only("text", per_rollout(tag_format))),
    )


TINY = tiny(
    rewards(world_picture, Shown(partial=True)),
    sampling=Sampling(max_tokens=56),
    rollout=DrawAndAnswer(world_picture, before="Think. "),
    advantage=Together(),
    others=(FACTS,),
    weights=ActionWeights("sequence"),
    group_size=6,
    prompts_per_step=12,
    steps=100,
    optimizer=AdamW(lr=6e-5, warmup=0.1),
    kl=None,
)

X2X = FileRows("mm-vl/x2x_rft_22k", Columns("prompt", "none", extra=(("question_answer", "qa_solution"),)))
"""Captions, each with a real picture and a question about it."""

PAPER = paper(
    JANUS_PRO,
    X2X,
    rewards(of_column, ClipScore()),
    sampling=Sampling(max_tokens=576, guidance=5.0, guidance_train=1.0),
    rollout=DrawAndAnswer(of_column, question="qa_problem"),
    metric=Reward("clip", ClipScore()),
    advantage=Together(),
    steps=700,
    prompts_per_step=32,
    group_size=8,
    weights=ActionWeights("sequence"),
    kl=None,
    optimizer=AdamW(lr=4e-6),
)

RECIPE = Recipe(
    title="Co-Reinforcement Learning for Unified Multimodal Understanding and Generation",
    arxiv="2505.17534",
    kind="unified",
    policy="image_tokens",
    modalities=("image", "text"),
    change="pictures and answers of one row share an advantage, from the sum of both rewards",
    formulas=(
        "r_i = caption_i + (1 − distance_i) + match_i + 0.8 (answer_i + format_i)",
        "match = ½ (mean over picture tokens of the best cosine with a word + mean over words of theirs)",
        "A = (r − mean_group) / (std_group + 1e-4), for picture i and answer i alike",
        "loss = mean over pictures and answers of mean over actions of −ρ A",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("pictures that show all that is asked for, on held-out prompts", baseline="the starting checkpoint"),
    assumptions={
        "rewards.caption": "the vision program's reading (tiny) or CLIP (paper) in place of a captioner's BERTScore",
        "rewards.near": "pixels in place of LPIPS, whose network no library of ours holds",
        "loss": "one mean over both branches; the code adds their means, which is twice as much",
        "stages": "the first stage alone; the second's code is not released",
    },
)
