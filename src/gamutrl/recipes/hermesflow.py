"""HermesFlow: Seamlessly Closing the Gap in Multimodal Understanding and Generation (arXiv 2502.12148).

What it changes: a unified model prefers its own best answers to its own worst ones, in both directions at once. From
one picture with its caption come a pair of captions (of the picture) and a pair of pictures (for the caption), judged
by how well they agree with what is known; Pair-DPO adds the two losses. Pictures are scored by the tokens of one mask
that both share. In later rounds a new best answer meets the winner of the round before. It should help because such
models understand better than they draw, and pairs from one source pull both sides together.

Source: github.com/Gen-Verse/HermesFlow at d6cf91ad. Its defects are not repeated: rows without a clear pair of pictures
take those of the row before, captions are trained on blank pictures, and the caption's log-probability runs over the
picture's rows too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from gamutrl.core import Batch, Context, Prompt, image
from gamutrl.data.sources import Changed, Mixture, WorldRows
from gamutrl.environments import SingleTurn
from gamutrl.functional.masking import mask_rate
from gamutrl.policies.base import Policy
from gamutrl.policies.masked import MaskedSampling
from gamutrl.policies.models import MaskedModel
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.recipes.tokens_plain import world_picture
from gamutrl.rewards.answers import word_f1
from gamutrl.rewards.base import Reward
from gamutrl.rewards.outputs import asked_text
from gamutrl.rewards.pairs import first_best, first_worst
from gamutrl.rewards.shown import Shown
from gamutrl.training.evaluation import Evaluation
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preference import PairLoss, Preference, Referred, answered
from gamutrl.training.preset import Preset

DESCRIBE = "describe the picture"
Scored = list[tuple[Any, float]]


@dataclass(frozen=True)
class Homologous:
    """From each row a pair of pictures and a pair of captions, the policy's own best and worst: `answers`.

    tries: how many of each. enough: what the best picture must score. against_previous: the best of now meets the
    winner of the pair that the model made as the round began, or, where it is no better, that pair's loser.
    """

    tries: int = 6
    enough: float = 0.6
    against_previous: bool = False
    sampling: MaskedSampling = MaskedSampling(unmasking=6)
    seed: int = 1

    def __call__(self, policy: Policy, prompts: Sequence[Prompt]) -> Batch:
        asked = [*prompts, *(described(prompt) for prompt in prompts)]
        now = self.scored(policy, asked)
        pairs = [self.pair(one) for one in now]
        if self.against_previous:
            with policy.reference("base"):
                before = [self.pair(one) for one in self.scored(policy, asked)]
            pairs = [renewed(new, old) for new, old in zip(pairs, before)]
        clear = [
            better[1] > worse[1] and (better[1] > self.enough or bool(prompt.media))
            for prompt, (better, worse) in zip(asked, pairs)
        ]
        labels = [[1.0, 0.0] if told else [0.0, 0.0] for told in clear]
        return answered(policy, asked, [[better[0], worse[0]] for better, worse in pairs], labels)

    def scored(self, policy: Policy, asked: Sequence[Prompt]) -> list[Scored]:
        """What each prompt got, and how good it is."""
        batch = policy.rollout(asked, self.tries, SingleTurn(), self.sampling, seed=self.seed)
        found: list[Scored] = [[] for _ in asked]
        for rollout, value, p in zip(batch.rollouts, agreement(batch, Context()).tolist(), batch.prompt_R.tolist()):
            found[p].append((rollout.output, value))
        return found

    def pair(self, scored: Scored) -> tuple[tuple[Any, float], tuple[Any, float]]:
        return first_best(scored, _score), first_worst(scored, _score)


def renewed(new: tuple[Any, Any], old: tuple[Any, Any]) -> tuple[Any, Any]:
    """The new best against the winner before it where it beats that, else against the loser."""
    return new[0], old[0] if _score(new[0]) > _score(old[0]) else old[1]


def _score(answer: tuple[Any, float]) -> float:
    return answer[1]


def described(prompt: Prompt, seed: int = 0) -> Prompt:
    """The row the other way round: its picture is shown, its text is asked for."""
    return Prompt.ask(
        DESCRIBE, image(world_picture(prompt, seed)), answer=asked_text(prompt), id=f"{prompt.id}/described"
    )


def described_well(batch: Batch, context: Context) -> torch.Tensor:
    """How well a description agrees with the picture's text, word by word; NaN for a drawn picture."""
    said = [word_f1(r.text, r.prompt.answer) if r.prompt.media else torch.nan for r in batch.rollouts]
    return torch.tensor(said)


def drawn_well(batch: Batch, context: Context) -> torch.Tensor:
    """The share of facts that a drawn picture shows; NaN for a description."""
    shown_R = torch.full((len(batch.rollouts),), torch.nan)
    drawn = [r for r, rollout in enumerate(batch.rollouts) if not rollout.prompt.media]
    if drawn:
        shown_R[drawn] = Shown(partial=True)(batch.take_rollouts(drawn), context)
    return shown_R


def agreement(batch: Batch, context: Context) -> torch.Tensor:
    """Facts shown, or words found, whichever a row is about."""
    drawn_R, said_R = drawn_well(batch, context), described_well(batch, context)
    return torch.where(drawn_R.isnan(), said_R, drawn_R)


@dataclass(frozen=True)
class SharedMask:
    """One mask for both answers of a pair, and what the reference says under it: a `prepare`."""

    refer: Referred = Referred()

    def __call__(self, stage: Preference, batch: Batch, context: Context) -> Batch:
        generator, group_N = context.generator("masks"), batch.group_N
        share_G = torch.rand(int(group_N.max()) + 1, generator=generator).tolist()
        level_N = torch.tensor([mask_rate(share_G[g], "cosine") for g in group_N.tolist()])
        policy = context.models[stage.trains]
        masked_NT = policy.corrupt(batch, level_N, generator, exact=True, shared_N=group_N)
        return self.refer(stage, replace(batch, mask_NT=masked_NT).with_(masked_NT=masked_NT), context)


DATA = WorldRows("pictures", "pair")
HELD_OUT = WorldRows("pictures", "pair", "test", size=100)
STAGE = Preference(
    DATA,
    Homologous(),
    name="pairs1",
    steps=20,
    rows_per_step=16,
    prepare=SharedMask(),
    objective=PairLoss(beta=0.2),
    optimizer=AdamW(lr=1e-4),
)
ROUNDS = (STAGE, replace(STAGE, name="pairs2", answers=Homologous(against_previous=True)))
MEASURED = Evaluation(
    Mixture((HELD_OUT, Changed(HELD_OUT, described))),
    Reward("agreement", agreement),
    (Reward("drawn", drawn_well), Reward("described", described_well)),
    200,
    MaskedSampling(unmasking=6),
    constants=(),
    batch=100,
)

TINY = Preset(MaskedModel("mask-tiny"), ROUNDS, MEASURED)

PAPER_STAGE = replace(
    STAGE,
    answers=Homologous(tries=16, sampling=MaskedSampling(unmasking=50, guidance=5.0, guidance_train=1.0)),
    steps=3000,
    rows_per_step=1,
    optimizer=AdamW(lr=2e-5, weight_decay=0.01, warmup=0.1, schedule="cosine"),
)
PAPER = Preset(
    MaskedModel("mask-tiny"),
    (PAPER_STAGE, replace(PAPER_STAGE, name="pairs2", answers=replace(PAPER_STAGE.answers, against_previous=True))),  # type: ignore[type-var]
    MEASURED,
    stand_in="mask-tiny and the world of pictures for Show-o and JourneyDB: no library has its architecture",
)

RECIPE = Recipe(
    title="HermesFlow: Seamlessly Closing the Gap in Multimodal Understanding and Generation",
    arxiv="2502.12148",
    kind="unified",
    policy="masked",
    modalities=("text", "image"),
    change="own best against own worst, of captions and of pictures from one source, in one preference loss",
    formulas=(
        "log π(x | c) = Σ over masked tokens of log p(token | the others, c), the same mask for both of a pair",
        "loss = −log σ(β (Δ_better − Δ_worse)) of pictures + the same of captions, Δ = log π − log π_ref, β = 0.2",
        "mask share cos(π u / 2), u ~ U[0, 1); round 2: the new best against the winner before it",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("facts drawn and words found on held-out rows", baseline="DPO on pictures alone", budget="pairs"),
    assumptions={
        "captions": "written by unmasking too, and scored under a shared mask; Show-o writes them word by word",
        "answers": "sampled as training goes, by the policy of now; the paper makes them before each round",
        "scores": "facts read off the picture and words in common, for self-asked questions and BERT's similarity",
        "previous": "the pair before is drawn again from the model as the round began",
        "tiny.data": "pairs of shapes; of single ones, test rows name kinds that no training row does",
        "steps": "a guess: the configuration says at most 50,000, the README shows 3,000",
    },
)
