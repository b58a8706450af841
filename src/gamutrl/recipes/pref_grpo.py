"""Pref-GRPO: Pairwise Preference Reward-based GRPO for Stable Text-to-Image RL (arXiv 2508.20751).

What it changes: not a score but a win rate is rewarded. A judge sees all pairs of a prompt's pictures; a picture's
reward is the share of the others that it beats. It should help because scores of a group hardly differ, so that
normalising by their deviation blows noise and biases up into advantages («illusory advantage»), and what is easiest to
learn is the bias; win rates always spread over [0, 1], and who is better is easier to tell than by how much.

Source: github.com/CodeGoat24/Pref-GRPO at 3e787f6d. Beside the win rate its scripts add a CLIP score, whiten the summed
advantages over the batch, and use GRPO-Guard's ratios (all followed here); the paper describes the win rate alone
(variant `paper`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Protocol

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Message, image, text
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.functional.advantages import normalize_then_sum
from gamutrl.policies.flow import FlowSampling
from gamutrl.recipes.flow_plain import CLIP, FEW, FLUX, GROUP_SCALE, paper, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.rewards.blobs import PROXY, BlobScore
from gamutrl.rewards.of_pictures import CLIP_SCORE
from gamutrl.rewards.outputs import picture_of
from gamutrl.rewards.tournament import SHARE, answered_winner, win_rates
from gamutrl.training.defaults import old_and_reference
from gamutrl.training.flow import MEAN, NormalizedSurrogate, SomeSteps, old_means_and_reference
from gamutrl.training.optimizer import AdamW
from gamutrl.training.responders import Endpoint

Pair = tuple[int, int]


class Judge(Protocol):
    """Compares rollouts: for each pair of numbers, what the first gets (1 for a win, ½ for a tie; None: no verdict)."""

    def __call__(self, batch: Batch, pairs: Sequence[Pair], context: Context) -> list[float | None]: ...


@dataclass(frozen=True)
class WinRate:
    """The share of its group that each rollout beats, under a judge who sees two at a time; NaN without comparison."""

    judge: Judge

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        groups = [(batch.group_R == group).nonzero().flatten().tolist() for group in batch.group_R.unique()]
        pairs = [pair for members in groups for pair in combinations(members, 2)]
        shares = iter(self.judge(batch, pairs, context))
        value_R = torch.full((len(batch.rollouts),), torch.nan)
        for members in groups:
            rates = win_rates(len(members), [next(shares) for _ in combinations(members, 2)])
            value_R[members] = torch.tensor([torch.nan if rate is None else rate for rate in rates])
        return value_R


@dataclass(frozen=True)
class NoisyEye:
    """A judge who sees the hidden gold score of blobs, each time with some noise added."""

    noise: float = 0.1

    def __call__(self, batch: Batch, pairs: Sequence[Pair], context: Context) -> list[float | None]:
        gold_R = BlobScore("gold")(batch, context)
        first, second = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
        error = torch.randn(2, len(pairs), generator=context.generator("judge")) * self.noise
        return (gold_R[first] + error[0] > gold_R[second] + error[1]).float().tolist()


QUESTION = """You see two pictures made for the caption 「{caption}」. Rate both from 1 to 10 for semantic consistency,
aesthetics and authenticity (and up to two more dimensions that matter here), with your reasons, inside <think> tags.
Then say which has the larger total: <answer>Image 1 is better</answer> or <answer>Image 2 is better</answer>."""


@dataclass(frozen=True)
class AskedJudge:
    """A vision-language model that is shown two pictures and says which is better; neither, half a win each."""

    responder: str = "judge"
    question: str = QUESTION

    def __call__(self, batch: Batch, pairs: Sequence[Pair], context: Context) -> list[float | None]:
        conversations = []
        for pair in pairs:
            shown = [image(picture_of(batch.rollouts[r])) for r in pair]
            words = text(self.question.replace("{caption}", batch.rollouts[pair[0]].prompt.text))
            conversations.append((Message("user", (*shown, words)),))
        replies = context.respond(self.responder, conversations)
        return [SHARE[answered_winner(reply, "Image 1 is better", "Image 2 is better")] for reply in replies]


@dataclass(frozen=True)
class EachThenWhitened:
    """Each reward normalised in its group, weighted and added, then normalised over the batch; within ±clip, `[R]`."""

    clip: float = 5.0

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        weight_K = batch["weight_RK"][0]
        total_R = normalize_then_sum(batch["reward_RK"], batch.group_R, weight_K, eps=1e-8, whiten=True)
        return total_R.clamp(-self.clip, self.clip)


TINY = tiny(
    (Reward("win_rate", WinRate(NoisyEye()), scope="group"),),
    sampling=FlowSampling(steps=10, eta=0.7, stochastic=tuple(range(9)), trained=FEW, noise="shared"),
    advantage=EachThenWhitened(),
    select=SomeSteps(0.6),
    prepare=old_means_and_reference,
    statistics=(MEAN,),
    objective=NormalizedSurrogate(1e-3),
)

PAPER = replace(
    paper(
        FLUX,
        FileRows("CodeGoat24/UniGenBench", Columns(image="none")),
        (
            Reward("win_rate", WinRate(AskedJudge()), weight=0.4, scope="group"),
            replace(CLIP_SCORE, weight=0.6),
        ),
        metric=CLIP_SCORE,
        sampling=FlowSampling(steps=25, eta=0.7, stochastic=tuple(range(24)), noise="shared", guidance=3.5),
        measured_by=FlowSampling(steps=50, eta=0.0, guidance=3.5),
        steps=300,
        prompts_per_step=64,
        group_size=8,
        minibatches=2,
        rows_per_forward=8,
        advantage=EachThenWhitened(),
        select=SomeSteps(0.6),
        prepare=old_means_and_reference,
        statistics=(MEAN,),
        objective=NormalizedSurrogate(1e-4),
        optimizer=AdamW(lr=1e-5, weight_decay=1e-4),
    ),
    responders=(("judge", Endpoint(model="UnifiedReward-Think-qwen-7b", max_tokens=4096)),),
)

PLAIN_RATIO = {"objective": CLIP, "prepare": old_and_reference, "statistics": (), "advantage": GROUP_SCALE}
RECIPE = Recipe(
    title="Pref-GRPO: Pairwise Preference Reward-based GRPO for Stable Text-to-Image Reinforcement Learning",
    arxiv="2508.20751",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="the reward is a win rate: the share of its group that a picture beats under a judge who sees two at a time",
    formulas=(
        "r_i = mean over j ≠ i of [judge prefers i to j], ½ without a verdict",
        "A = whitened Σ_k w_k (r_k − mean_group) / (std_group + 1e-8), within ±5",
        "loss = mean over 60% of the steps of max(−ρ A, −clip(ρ, 1 ± 1e-4) A) / (−dt), ρ normalised as GRPO-Guard's",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim(
        "gold on held-out prompts, against a scalar score with a bias", baseline="pref-grpo/ablation, a scalar score"
    ),
    variants={
        "tiny/ablation": with_stage(TINY, rewards=(PROXY,)),
        "tiny/paper": with_stage(TINY, **PLAIN_RATIO),
        "paper/paper": with_stage(
            PAPER, rewards=(Reward("win_rate", WinRate(AskedJudge()), scope="group"),), **PLAIN_RATIO
        ),
    },
    assumptions={
        "tiny.rewards": "a judge who sees the hidden score with noise of deviation 0.1, each time anew",
        "tiny.objective": "a clip range of 1e-3: ratios of 64 dimensions are wider than those of 65,536",
        "paper.data": "UniGenBench's prompts from its hub copy",
        "paper.question": "in our words: the judge's dimensions and verdicts as the repository asks for them",
    },
)
