"""DiffusionNFT: Online Diffusion Reinforcement with Forward Process (arXiv 2509.16117).

What it changes: nothing of the sampler is trained. Rollouts come from a lagging copy by any solver, and only their
ends are kept, noised anew. The advantage becomes how good a sample is, r in [0, 1]; the velocity that is learned,
mixed with the lagging copy's, makes an implicit good and an implicit bad policy, which both learn to denoise the
sample, weighted r and 1 − r. It should help because there are no log-probabilities to be had step by step, samples are
taken as well as the solver can, without guidance, and bad samples teach as well.

Source: github.com/NVlabs/DiffusionNFT at 24af5554. The code has what the paper's loss has not: errors of the clean
latent, each divided by its own mean absolute value, 1/β and a factor 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.functional.denoising import negative_aware, optimality
from gamutrl.functional.divergences import mean_square
from gamutrl.policies.flow import FlowSampling
from gamutrl.recipes.denoising_plain import EPOCH
from gamutrl.recipes.flow_plain import PICK_A_PIC, PICKSCORE, SD3, drawn, paper, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.training.defaults import ActionWeights, GroupAdvantage, Reference
from gamutrl.training.forward import Ends, Lagging, Noised, OfSampler, clean_of, predictions
from gamutrl.training.optimizer import AdamW


@dataclass(frozen=True)
class NegativeAware:
    """limit · (r · error⁺ + (1 − r) · error⁻) / β, and a pull to the base's velocity: an `objective` on predictions.

    limit: of advantages, which become r. keep: which advantages count (`functional.denoising.optimality`). normed: each
    error is divided by its own mean absolute value. sampled_by: the copy whose velocity is mixed in.
    """

    beta: float = 1.0
    limit: float = 5.0
    keep: Literal["all", "positive", "negative", "one", "binary"] = "all"
    pull: float = 1e-4
    normed: bool = True
    sampled_by: str = "old"

    def __call__(self, predicted_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        old_NT, base_NT = (batch[f"predicted_{name}_NT"].to(predicted_NT) for name in (self.sampled_by, "base"))
        good_M = optimality(batch["advantage_NT"].to(predicted_NT).flatten(), self.limit, self.keep)
        contrast = negative_aware(
            predicted_NT.flatten(0, 1),
            old_NT.flatten(0, 1),
            batch["noised_NL"].flatten(0, 1),
            clean_of(batch).flatten(0, 1),
            batch["level_NL"].flatten(),
            good_M,
            self.beta,
            least_weight=1e-5 if self.normed else None,
        )
        pull_M = mean_square(predicted_NT.flatten(0, 1), base_NT.flatten(0, 1))
        return (self.limit * contrast.loss + self.pull * pull_M).view(batch.mask_NT.shape)


FORWARD: dict[str, Any] = {
    "rollout": Ends(levels=9, by="old"),
    "advantage": GroupAdvantage(scale="batch", unbiased=False),
    "prepare": Noised(OfSampler(steps=10, count=9), references=("old", "base")),
    "likelihood": predictions,
    "objective": NegativeAware(),
    "kl": None,
    "weights": ActionWeights("token"),
    "references": (Lagging("old", points=((0, 0.0), (500, 0.5))), Reference("base")),
}
"""What is changed: the lagging copy's decay rises by 0.001 a step, to one half."""

TINY = tiny(
    sampling=FlowSampling(steps=10, eta=0.0, solver="dpm"),
    **{
        **FORWARD,
        "steps": 40,
        "prompts_per_step": 16,
        "objective": NegativeAware(pull=0.3),
        "optimizer": AdamW(lr=3e-4, weight_decay=1e-4),
    },
)

PICTURES = drawn(
    sampling=FlowSampling(steps=10, eta=0.0),
    **{
        **FORWARD,
        "rollout": Ends(levels=4, by="old"),
        "prepare": Noised(OfSampler(steps=10, count=4), references=("old", "base")),
        "objective": NegativeAware(pull=0.1),
    },
)

PAPER = paper(
    SD3,
    PICK_A_PIC,
    (PICKSCORE,),
    sampling=FlowSampling(steps=10, eta=0.0, solver="dpm"),
    measured_by=FlowSampling(steps=40, eta=0.0),
    **{**FORWARD, **EPOCH},
)

RECIPE = Recipe(
    title="DiffusionNFT: Online Diffusion Reinforcement with Forward Process",
    arxiv="2509.16117",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="samples are noised anew; an implicit good and an implicit bad velocity denoise them, as good as they were",
    formulas=(
        "r = clip(A, ±5) / 10 + ½, A = (R − group mean) / batch std",
        "v⁺ = β v + (1 − β) v_old, v⁻ = (1 + β) v_old − β v, x₀± = x_t − t v±",
        "loss = 5 · [r · |x₀⁺ − x₀|² / w⁺ + (1 − r) · |x₀⁻ − x₀|² / w⁻] / β + 10⁻⁴ · |v − v_base|²",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/pictures": PICTURES,
        "tiny/paper": with_stage(TINY, objective=NegativeAware(normed=False, pull=0.3)),
        "paper/paper": with_stage(PAPER, objective=NegativeAware(normed=False)),
    },
    claim=Claim("gold score", baseline="flow-grpo, at equal samples", budget="rollouts"),
    assumptions={
        "tiny.stages.rl.objective.pull": "0.3: all weights are trained, not an adapter; samples would leave the data",
        "tiny/pictures.stages.rl": "four levels a sample, Euler's steps, a pull of 0.1: a step must take seconds",
        "paper.evaluation": "the trained weights; the released code measures a moving average of them",
    },
)
