"""TW-GRPO: Reinforcing Video Reasoning with Focused Thinking (arXiv 2505.24718).

What it changes: tokens count more in the loss where the group's rollouts disagree about what comes next; questions have
several right options, and naming some of them, and no wrong one, earns a share of the reward. It should help because
most tokens of a rationale are the same in every rollout and teach little, and because a group that is all wrong by the
letter still differs in how nearly right it was. No KL, an asymmetric clip, a mean over tokens as in DAPO.

Source: github.com/longmalongma/TW-GRPO at aa529ffc. The paper speaks of an entropy; the code has this divergence.
Released defects, mended here:
- The weights carried a gradient, so that the policy could also lower its loss by agreeing with itself (variant
  `released`).
- Padding took part in stretching the scores to [0, 1], so that a weight depended on what else was in the batch.
- An answer was first compared as mathematics, whole response against the solution.
- A question without an auxiliary verb was inverted in its answers only (`data.transforms.Negated` says so in words).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed, Mixture, WorldRows
from gamutrl.data.transforms import Negated, WithSuffix, lettered
from gamutrl.data.worlds.turns import AtOnce
from gamutrl.functional.probabilities import group_divergence, stretched
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import FORMAT, begun_with, paper, tiny, warm_start, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.answers import accuracy, choice_in, subset_share
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.tags import tag_format
from gamutrl.training.defaults import ActionWeights, ClippedSurrogate
from gamutrl.training.optimizer import AdamW


@dataclass(frozen=True)
class Disagreement:
    """The statistic: how far a group's distributions lie apart at each position (`group_divergence`).

    gradient: whether one flows through it, as it did in the released code.
    """

    gradient: bool = False

    def __call__(self, logits_GcV: Tensor, mask_Gc: Tensor) -> Tensor:
        logits_GcV = logits_GcV if self.gradient else logits_GcV.detach()
        # A banned token has no probability in any rollout: it is not in the vocabulary that they disagree about.
        possible_V = (logits_GcV > torch.finfo(logits_GcV.dtype).min).flatten(0, 1).any(0)
        return group_divergence(logits_GcV[..., possible_V].log_softmax(-1), mask_Gc).expand(mask_Gc.shape)


@dataclass(frozen=True)
class TokenWeighted:
    """An objective whose terms count 1 where a group disagrees least and `alpha` where most."""

    alpha: float = 1.7
    surrogate: ClippedSurrogate = ClippedSurrogate(low=0.20, high=0.28)

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        score_NT = batch["disagreement_NT"].to(logp_NT)
        share_NT = stretched(score_NT, batch.mask_NT.to(logp_NT.device), batch.group_N.to(logp_NT.device))
        return (1 + (self.alpha - 1) * share_NT) * self.surrogate(logp_NT, batch, context)


def whole_set(given: str, truth: Any) -> float:
    """1 if all the right options are named and no other."""
    return subset_share(given, truth, partly=False)


def with_options(prompt: Prompt, seed: int = 0) -> Prompt:
    """A row of NExT-GQA with its options below the question and its letter bare, as `Negated` takes it."""
    options = [option[len("(A) ") :] for option in prompt.columns["options"]]
    asked = WithSuffix("\n" + lettered(options))(prompt, seed)
    return replace(asked, answer=choice_in(prompt.answer), columns={**prompt.columns, "options": options})


SHARE = Reward("share", per_rollout(accuracy, compare=subset_share, missing="whole"))
WHOLE = Reward("accuracy", per_rollout(accuracy, compare=whole_set, missing="whole"))
AT_END = Reward("format", per_rollout(tag_format, before=True, once=True, strip=True))

CHANGES: dict[str, Any] = {
    "objective": TokenWeighted(),
    "statistics": (("disagreement", Disagreement()),),
    "weights": ActionWeights("token"),
    "kl": None,
}

FEW = {"form": "think", "frames": 4, "most": 3}
SMALL: dict[str, Any] = {
    "knobs": FEW,
    "sampling": Sampling(max_tokens=64),
    "measured_at": 1.0,
    "steps": 60,
    "optimizer": AdamW(lr=2e-5),
}
NAMING = warm_start(WorldRows("clips", "all", "train", FEW, seed=1), AtOnce("work"))
TINY = begun_with(NAMING, tiny("clips", "all", (SHARE, FORMAT), WHOLE, **SMALL, **CHANGES))
PLAIN = begun_with(NAMING, tiny("clips", "all", (WHOLE, FORMAT), WHOLE, **SMALL))

HOW = WithSuffix("\nThink inside <think> </think>, then give the letters, parted by commas, inside <answer> </answer>.")
CLEVRER = FileRows(
    "TW-GRPO/data/CLEVRER/clevrer_counterfactual_train.json",
    Columns(prompt="problem", video="video", answer="solution"),
)
NEXT_GQA = FileRows(
    "TW-GRPO/data/evaluation/nextgqa_val_raw.json", Columns(prompt="question", video="video", answer="answer")
)
PAPER = paper(
    TextModel("Qwen/Qwen2.5-VL-7B-Instruct", max_prompt_tokens=4096, freeze=("vision",), gradient_checkpointing=True),
    Changed(CLEVRER, HOW),
    (SHARE, AT_END),
    WHOLE,
    held_out=Changed(replace(CLEVRER, split="test"), HOW),
    steps=500,
    prompts_per_step=2,
    sampling=Sampling(max_tokens=4096),
    optimizer=AdamW(lr=1e-6, clip_norm=20.0),
    **CHANGES,
)


AS_RELEASED = (("disagreement", Disagreement(gradient=True)),)
INVERTED = Changed(Changed(Changed(NEXT_GQA, with_options), Negated(share=0.5)), HOW)

RECIPE = Recipe(
    title="Reinforcing Video Reasoning with Focused Thinking",
    arxiv="2505.24718",
    kind="understanding",
    modalities=("video", "text"),
    change="tokens weigh more where a group disagrees; a share of the reward for some of several right options",
    formulas=(
        "d = clip(mean_group log π(v) − log π_i(v), ±11); s_t = mean_i Σ_v (exp d − d − 1)",
        "w_t = 1 + (α − 1) · (s_t − min s) / (max s − min s), α = 1.7",
        "loss = Σ w_t · −min(ρ A, clip(ρ, 0.8, 1.28) A) / number of tokens",
        "r = |named| / |right| if every named option is right, else 0; + format",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/ablation": PLAIN,
        "tiny/released": with_stage(TINY, statistics=AS_RELEASED),
        "paper/released": with_stage(PAPER, statistics=AS_RELEASED),
        "paper/paper": with_stage(PAPER, data=Mixture((Changed(CLEVRER, HOW), INVERTED))),
    },
    claim=Claim("whole set of options right, on held-out rows", baseline="tw-grpo/ablation, GRPO all or nothing"),
    assumptions={
        "tiny.data": "questions with several right answers are answered in words: vlm-tiny cannot match letters",
        "tiny.stages.sft": "a warm start: the packaged model was never asked for a whole set",
        "paper.data": "paths as in a checkout of the authors' repository, its videos downloaded beside it",
        "paper/paper.data": "half NExT-GQA, half of that inverted: the paper does not say in which proportion",
    },
)
