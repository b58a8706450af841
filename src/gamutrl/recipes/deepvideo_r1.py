"""DeepVideo-R1: Video Reinforcement Fine-Tuning via Difficulty-aware Regressive GRPO (arXiv 2506.07464).

What it changes, twice. Reg-GRPO: the clipped surrogate gives way to a regression; a group's log-ratios, normalised, are
to equal its rewards, normalised. Where they do, the policy is the best one under a KL budget, and nothing has to be
clipped. Difficulty: a group's mean reward is compared with that of the last 100; a question that was harder is asked
again with the beginning of a rationale as a hint, one that was easier with noise on its frames, the more so the further
off. It should help because groups that are all right or all wrong teach nothing.

Source: the paper's text (version 5); the authors' code was not at hand. The paper prints the KL with a minus sign
inside a loss that it minimises; here it is a penalty. At the first update all log-ratios are 0, so their deviation
needs an epsilon, and only a second update on the same batch has something to regress: both are ours to choose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Sampling
from gamutrl.data.transforms import Hinted, NoisyFrames, WithSuffix
from gamutrl.functional.advantages import group_normalize
from gamutrl.functional.objectives import regression
from gamutrl.functional.ratios import log_ratio
from gamutrl.functional.weights import masked_mean
from gamutrl.policies.models import TextModel
from gamutrl.recipes.grpo_care import LETTER, SEED_BENCH, SEED_BENCH_TEST
from gamutrl.recipes.plain import FORMAT, paper, tiny
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.tags import tag_text
from gamutrl.training.defaults import KL, old_of, sample_groups
from gamutrl.training.optimizer import AdamW
from gamutrl.training.rl import RL


@dataclass(frozen=True)
class RegressedAdvantage:
    """(advantage − normalised log-ratio of the whole rollout)², the same term for each of its actions.

    Needs whole groups in one forward pass, which is how the stage cuts batches. eps: added to the log-ratios' variance
    under the root.
    """

    eps: float = 0.01

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        mask_NT = batch.mask_NT.to(logp_NT.device)
        ratio_N = log_ratio(logp_NT, old_of(batch, logp_NT), mask_NT, "sequence_sum")[:, 0]
        predicted_N = group_normalize(ratio_N, batch.group_N.to(ratio_N.device), eps=self.eps, eps_inside=True)
        advantage_N = masked_mean(batch["advantage_NT"].to(logp_NT), mask_NT, dim=1)
        return regression(predicted_N, advantage_N)[:, None].expand_as(logp_NT)


@dataclass
class SecondTry:
    """Samples each question, and again, changed, where it was harder or easier than questions have lately been.

    A `rollout`. The gap is the mean reward of the last `window` groups less this group's; its strength is the share of
    `reach`, at most 1. Harder: a rationale is written for the told answer (the best of `tries`), and its first words
    are shown, up to the share `hint` of it. Easier: noise on the frames, of deviation up to `noise` (of white). What
    the window holds, always of first tries, is saved with the run.
    """

    window: int = 100
    reach: float = 1.0
    tolerance: float = 0.1
    hint: float = 0.75
    tries: int = 4
    noise: float = 0.3
    recent: list[float] = field(default_factory=list, init=False)

    def __call__(self, stage: RL, prompts: Sequence[Prompt], context: Context) -> Batch:
        first = sample_groups(stage, prompts, context)
        reward_R = stage.combine(context.score(first), context)
        mean_P = [float(reward_R[first.prompt_R == p].nanmean()) for p in range(len(first.prompts))]
        usual = sum(self.recent) / len(self.recent) if self.recent else None
        gaps = {p: 0.0 if usual is None else usual - mean for p, mean in enumerate(mean_P) if math.isfinite(mean)}
        self.recent = [*self.recent, *(mean_P[p] for p in gaps)][-self.window :]
        harder = {p: min(1.0, gap / self.reach) for p, gap in gaps.items() if gap > self.tolerance}
        easier = {p: min(1.0, -gap / self.reach) for p, gap in gaps.items() if gap < -self.tolerance}
        context.metrics |= {
            "first/reward": sum(mean_P[p] for p in gaps) / max(1, len(gaps)),
            "second/hinted": len(harder) / max(1, len(mean_P)),
            "second/noisy": len(easier) / max(1, len(mean_P)),
        }
        if not harder and not easier:
            return first
        again = self.hinted(stage, [first.prompts[p] for p in harder], list(harder.values()), context)
        seeds = context.generator("noise")
        for p, strength in easier.items():
            seed = int(torch.randint(2**31, (), generator=seeds))
            again.append(NoisyFrames(self.noise * strength)(first.prompts[p], seed))
        second = sampled(stage, again, stage.group_size, context, "second")
        changed = torch.tensor([*harder, *easier])
        return Batch.concat([first.take_rollouts(~torch.isin(first.prompt_R, changed)), second])

    def hinted(
        self, stage: RL, prompts: Sequence[Prompt], strengths: Sequence[float], context: Context
    ) -> list[Prompt]:
        """The prompts, each with the first words of its best rationale; as they are where none was written."""
        if not prompts:
            return []
        told = [Hinted("The answer is {answer}.")(prompt, 0) for prompt in prompts]
        written = sampled(stage, told, self.tries, context, "hints")
        reward_R = stage.combine(context.score(written), context).nan_to_num(-math.inf)
        place = {id(prompt): p for p, prompt in enumerate(written.prompts)}
        changed = []
        for prompt, with_answer, strength in zip(prompts, told, strengths):
            mine = (written.prompt_R == place.get(id(with_answer), -1)).nonzero().flatten()
            best = written.rollouts[int(mine[reward_R[mine].argmax()])].text if len(mine) else ""
            words = tag_text(best, "think", missing="empty").split()
            shown = " ".join(words[: math.ceil(self.hint * strength * len(words))])
            changed.append(WithSuffix(f"\nHint: {shown}")(prompt, 0) if shown else prompt)
        return changed

    def beside(self, group_size: int) -> int:
        """What a question may cost beyond its trained group: a first try, and rationales for a hint."""
        return group_size + self.tries

    def state_dict(self) -> dict[str, Any]:
        return {"recent": self.recent}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.recent = list(state["recent"])


def sampled(stage: RL, prompts: Sequence[Prompt], size: int, context: Context, name: str) -> Batch:
    """Groups of `size` by the stage's settings, with randomness of their own by `name`."""
    seed = int(context.generator(name).initial_seed())
    return context.models[stage.trains].rollout(prompts, size, stage.environment, stage.sampling, seed=seed)


CHANGES: dict[str, Any] = {"rollout": SecondTry(), "objective": RegressedAdvantage(), "updates_per_batch": 2}

TINY = tiny("clips", "order", sampling=Sampling(max_tokens=48), kl=KL(0.01), optimizer=AdamW(lr=1.5e-5), **CHANGES)

PAPER = paper(
    TextModel("Qwen/Qwen2.5-VL-3B-Instruct", freeze=("vision",), gradient_checkpointing=True),
    SEED_BENCH,
    (LETTER, FORMAT),
    LETTER,
    held_out=SEED_BENCH_TEST,
    steps=2000,
    sampling=Sampling(max_tokens=512),
    kl=KL(0.1),
    **CHANGES,
)

RECIPE = Recipe(
    title="DeepVideo-R1: Video Reinforcement Fine-Tuning via Difficulty-aware Regressive GRPO",
    arxiv="2506.07464",
    kind="understanding",
    source="paper",
    modalities=("video", "image", "text"),
    change="regress normalised log-ratios on normalised rewards; hint at hard questions, blur easy ones, and ask again",
    formulas=(
        "r = accuracy + format; A = (r − mean r) / std r in the group",
        "ρ_i = Σ_t log π(y_t) − log π_old(y_t); Â = (ρ − mean ρ) / √(var ρ + ε) in the group",
        "loss = mean_i (A_i − Â_i)² + β k3, β = 0.1",
        "gap = mean reward of the last 100 groups − this group's: > 0 hint, < 0 noise, strength ∝ |gap|",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("accuracy on held-out rows", baseline="grpo"),
    assumptions={
        "objective.eps": "0.01, added to the variance: the paper divides by a deviation that is 0 at the first update",
        "updates_per_batch": "2: with one there is nothing to regress but zeros",
        "rollout.reach, tolerance": "full strength at a gap of 1; one up to 0.1 changes nothing, and costs nothing",
        "rollout.hint, noise, tries": "at most 3/4 of the best of 4 rationales; noise of up to 0.3 of white",
        "rewards": "weights of 1; IoU of time spans, which the paper adds for grounding, has no place in these data",
        "paper.optimizer, steps, sampling": "not stated; a rate of 1e-6, and 2,000 steps as in the paper's curves",
        "tiny.kl": "0.01: a small model forgets its layout sooner",
    },
)
