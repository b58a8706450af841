"""MixGRPO: Unlocking Flow-based GRPO Efficiency with Mixed ODE-SDE (arXiv 2507.21802).

What it changes: only a window of a few denoising steps draws noise and is trained; all other steps are the ODE's. The
window moves from high noise to low noise as training goes on. It should help because a rollout then differs from its
group by a few decisions that the reward can be credited to, because only those are scored again, and because the steps
after the window can be taken by a better solver in fewer steps (Flash). Several rewards are normalised apart, then
added; all rollouts of a prompt start from one noise.

Source: github.com/Tencent-Hunyuan/MixGRPO at e5cdd6a4 (on DanceGRPO's code). Its released window shrinks at the end of
its way and is empty for one stay (variant `released`), ours keeps its size and begins anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.functional.advantages import normalize_then_sum
from gamutrl.functional.sampling import shift_time
from gamutrl.functional.windows import progressive_window, random_window, regridded, sliding_windows
from gamutrl.policies.flow import FlowSampling, Grid
from gamutrl.recipes.flow_plain import FLUX, HPD, paper, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.of_pictures import CLIP_SCORE, HPS, IMAGE_REWARD, PICK_SCORE
from gamutrl.training.defaults import sample_groups
from gamutrl.training.flow import rollout_with
from gamutrl.training.optimizer import AdamW


@dataclass(frozen=True)
class Window:
    """Samples with noise inside of a window of `size` steps, which moves by `stride` every `pace` training steps.

    move: "progressive" as said, "random" to a place drawn for each training step, "frozen" never, "released" as the
    code's. flash: this share of the steps after the window is left, taken by DPM-Solver++ of second order (0: off).
    """

    size: int = 4
    stride: int = 1
    pace: int = 25
    move: str = "progressive"
    flash: float = 0.0

    def steps(self, training_step: int, last: int) -> range:
        """The window at a training step; `last` denoising steps can be in it."""
        match self.move:
            case "progressive":
                overlap = self.size - self.stride
                return progressive_window(training_step, last, self.size, pace=self.pace, overlap=overlap, wrap=True)
            case "random":
                return random_window(training_step, last, self.size)
            case "frozen":
                return range(self.size)
            case "released":
                windows = sliding_windows(self.size, last, self.stride, lambda first: self.pace)
                return next(islice(windows, training_step, None))
        raise ValueError(f"rollout.move must be progressive, random, frozen or released, not {self.move!r}.")

    def __call__(self, stage: Any, prompts: Sequence[Prompt], context: Context) -> Batch:
        window = self.steps(context.step, stage.sampling.steps - 2)
        context.metrics["window/first"] = float(window.start)
        if not self.flash or not window:
            return rollout_with(stage, prompts, context, stochastic=tuple(window))
        policy = context.models[stage.trains]
        sampling = replace(stage.sampling, stochastic=tuple(window), solver="dpm")
        levels, _ = regridded(sampling.steps, window[-1], self.flash)
        level_S1 = shift_time(levels, getattr(policy.denoiser.schedule, "shift", 1.0))
        seed = int(context.generator("rollout").initial_seed())
        grid = Grid(level_S1, level_S1[:-1])
        state = policy.begin(prompts, stage.group_size, sampling, seed=seed, grid=grid)
        while not state.done:
            state, _ = policy.step(state)
        return policy.finish(state)


@dataclass(frozen=True)
class EachThenSum:
    """Each reward normalised in its group on its own, weighted and added; the sum within ±clip, `[R]`."""

    trim: float = 0.0
    clip: float = 5.0

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        weight_K = batch["weight_RK"][0]
        total_R = normalize_then_sum(batch["reward_RK"], batch.group_R, weight_K, eps=1e-8, trim=self.trim)
        return total_R.clamp(-self.clip, self.clip)


TINY_SAMPLING = FlowSampling(steps=10, eta=0.7, noise="shared")
TINY = tiny(
    sampling=TINY_SAMPLING,
    rollout=Window(size=3, pace=10),
    advantage=EachThenSum(),
)

PAPER = paper(
    FLUX,
    HPD,
    (HPS, replace(PICK_SCORE, weight=1 / 8), IMAGE_REWARD, CLIP_SCORE),
    sampling=FlowSampling(steps=25, eta=0.7, noise="shared", guidance=3.5),
    measured_by=FlowSampling(steps=50, eta=0.0, guidance=3.5),
    steps=300,
    prompts_per_step=32,
    group_size=12,
    minibatches=4,
    rows_per_forward=12,
    rollout=Window(),
    advantage=EachThenSum(),
    optimizer=AdamW(lr=1e-5, weight_decay=1e-4),
)

RECIPE = Recipe(
    title="MixGRPO: Unlocking Flow-based GRPO Efficiency with Mixed ODE-SDE",
    arxiv="2507.21802",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="noise and training inside a sliding window of steps, the ODE outside of it",
    formulas=(
        "window = 4 of 25 steps, from high to low noise, one on every 25 training steps",
        "A = Σ_k w_k (r_k − mean_group) / (std_group + 1e-8), within ±5",
        "loss = mean over the window's steps of max(−ρ A, −clip(ρ, 1 ± 1e-4) A)",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("gold on held-out prompts", baseline="mixgrpo/ablation, noise at all steps", budget="denoiser_calls"),
    variants={
        "tiny/ablation": with_stage(
            TINY, rollout=sample_groups, sampling=replace(TINY_SAMPLING, trained=tuple(range(6)))
        ),
        "tiny/released": with_stage(TINY, rollout=Window(size=3, pace=10, move="released")),
        "paper/released": with_stage(PAPER, rollout=Window(move="released")),
    },
    assumptions={
        "tiny.rollout": "a window of 3 of 10 steps that moves every 10 training steps",
        "paper.rewards": "CLIP's score stands where UnifiedReward needs a server",
        "paper.data": "HPD v2's prompts from its hub copy",
    },
)
