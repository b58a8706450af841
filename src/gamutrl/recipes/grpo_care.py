"""GRPO-CARE: Consistency-Aware Reinforcement Learning for Multimodal Reasoning (arXiv 2506.16141).

What it changes: GRPO's KL penalty goes, and a sparse bonus for consistency comes. Of a group's right answers, those get
half as much again whose answer is likely under a slowly moving copy of the policy that has just read the policy's own
reasoning. It should help because rewarding the answer alone lets reasoning and answer drift apart: a reader who only
has the reasoning to go by can tell, and compared with its group no threshold has to be set.

Source: github.com/TencentARC/GRPO-CARE at b0628fcc. Code and paper agree on the bonus. Released defects, mended here:
- The answer's tokens were found by counting (from the tag's closing ">" to four before the end), which holds for one
  tokenizer; here they are those that spell what stands in the last answer tag.
- A text without an answer counted as one that is certain (likelihood 1); here as one that is impossible.
- Two missing answers were equal, and so right (the released accuracy).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Sampling
from gamutrl.data.columns import Columns
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import Changed
from gamutrl.data.transforms import OptionsFrom, WithSuffix
from gamutrl.functional.weights import masked_mean
from gamutrl.policies.models import TextModel
from gamutrl.recipes.plain import ACCURACY, FORMAT, paper, tiny, with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.recipes.video_r1 import ASK, ASK_TYPE
from gamutrl.rewards.answers import accuracy, choice_in, same_choice
from gamutrl.rewards.base import Reward, per_rollout
from gamutrl.rewards.groups import consistency_bonus
from gamutrl.rewards.tags import tag_text
from gamutrl.training.defaults import Reference
from gamutrl.training.optimizer import AdamW


@dataclass(frozen=True)
class Consistency:
    """`consistency_bonus` of what `reference` makes of the answers, given the reward `accuracy`."""

    coefficient: float = 0.5
    cap: float = 0.95
    margin: float = 0.01
    reference: str = "ema"

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        likelihood_R = answer_likelihood(batch, context, self.reference)
        context.metrics["consistency/likelihood"] = float(likelihood_R.mean())
        return consistency_bonus(
            likelihood_R,
            context.reward(batch, "accuracy"),
            batch.group_R,
            coefficient=self.coefficient,
            cap=self.cap,
            # Equal likelihoods must reach their own mean, whatever its rounding.
            margin=self.margin + 1e-9,
        )


def answer_likelihood(batch: Batch, context: Context, reference: str) -> Tensor:
    """How likely a reference finds each rollout's answer after its reasoning, a token's geometric mean, `[R]`.

    0 for a rollout that answers nothing.
    """
    with context.policy.reference(reference):
        logp_NT = context.policy.log_probs(batch).double().cpu()
    mask_NT = answer_mask(batch)
    return batch.rows_to_rollouts(masked_mean(logp_NT, mask_NT, dim=1).exp() * mask_NT.any(1))


def answer_mask(batch: Batch) -> Tensor:
    """The actions that spell the inside of a row's last answer tag, bool `[N, T]`; none where it has no such tag."""
    mask_NT = torch.zeros_like(batch.mask_NT)
    for n, row in enumerate(batch.rows):
        at = 0
        for turn in (batch.rollouts[row.rollout].turns[t] for t in row.turns):
            before, tag, inside = turn.raw_text.rpartition("<answer>")
            if tag and "</answer>" in inside:
                start = len(before) + len(tag)
                mask_NT[n] = False
                mask_NT[n, at : at + len(turn)] = turn.spelling(start, start + inside.index("</answer>"))
            at += len(turn)
    return mask_NT & batch.mask_NT


def names_its_answer(text: str, query: dict[str, Any] | None = None) -> float | None:
    """Whether the reasoning names what is then answered: consistency as one can see it in `scenes`."""
    if query is None:
        return None
    thought, answer = tag_text(text, "think", missing="empty"), tag_text(text, missing="empty").strip()
    if "options" in query:
        answer = dict(zip("ABCD", query["options"])).get(choice_in(answer, "ABCD") or "", "")
    return float(bool(answer) and answer in thought)


CONSISTENCY = Reward("consistency", Consistency(), scope="group")
LETTER = Reward("accuracy", per_rollout(accuracy, compare=same_choice))

TINY = tiny(
    "scenes",
    "attribute",
    (ACCURACY, FORMAT, CONSISTENCY),
    knobs={"guessable": 0.6},
    others=(Reward("names_its_answer", per_rollout(names_its_answer)),),
    sampling=Sampling(max_tokens=48),
    kl=None,
    references=(Reference("ema", every=2, decay=0.975),),
    optimizer=AdamW(lr=1.5e-5),
)

ROWS = FileRows(
    "SEED-Bench-R1/annotations/training_6k.jsonl",
    Columns(prompt="question", video="video_basename", image="current_observation_basename", answer="answer"),
    held_out=500,
)
ASKED = WithSuffix(f"\n{ASK}{ASK_TYPE['multiple choice']}")
SEED_BENCH = Changed(Changed(ROWS, OptionsFrom("negative_answers")), ASKED)
SEED_BENCH_TEST = Changed(Changed(replace(ROWS, split="test"), OptionsFrom("negative_answers")), ASKED)

PAPER = paper(
    TextModel("Qwen/Qwen2.5-VL-7B-Instruct", max_prompt_tokens=16384, gradient_checkpointing=True),
    SEED_BENCH,
    (LETTER, FORMAT, replace(CONSISTENCY, score=Consistency(margin=0.0))),
    LETTER,
    held_out=SEED_BENCH_TEST,
    steps=1500,
    prompts_per_step=4,
    sampling=Sampling(max_tokens=768, top_p=0.95),
    kl=None,
    references=(Reference("ema", every=10, decay=0.995),),
    optimizer=AdamW(lr=1e-6, weight_decay=0.01, schedule="cosine", clip_norm=5.0),
)

RECIPE = Recipe(
    title="GRPO-CARE: Consistency-Aware Reinforcement Learning for Multimodal Reasoning",
    arxiv="2506.16141",
    kind="understanding",
    modalities=("video", "image", "text"),
    change="no KL; a bonus for right answers that a slow copy of the policy finds likely after the policy's reasoning",
    formulas=(
        "p = exp(mean log π_ema(answer tokens | question, own reasoning)), at most 0.95",
        "right: accuracy > 0.1 and ≥ its group's mean",
        "bonus = 0.5 · accuracy if right and p ≥ mean of the right ones' p − 0.01, else 0",
        "r = accuracy + format + bonus; π_ema ← 0.995 π_ema + 0.005 π every 10 updates",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={"tiny/ablation": with_stage(TINY, rewards=(ACCURACY, FORMAT), references=())},
    claim=Claim(
        "accuracy, and how often the reasoning names the answer, on held-out rows",
        baseline="grpo-care/ablation, GRPO without KL",
    ),
    assumptions={
        "tiny.references": "every 2 updates by 0.975: the copy lags by the same share of a run as in the paper's",
        "paper.rewards.consistency.margin": "0, as in the script for SEED-Bench-R1; the code's default is 0.01",
        "paper.data": "as after `git clone` of the hub's TencentARC/SEED-Bench-R1, its media unpacked beside the file",
        "paper.steps": "6,000 rows, 4 a step",
    },
)
