"""AWM: Advantage Weighted Matching: Aligning RL with Pretraining in Diffusion Models (arXiv 2509.25050).

What it changes: the likelihood. Samples, from any sampler, are noised anew at levels of one's own choice, and minus the
matching error of pretraining takes the place of a log-probability in the clipped surrogate. Good samples are matched,
bad ones unmatched; two pulls, to the base and to a lagging copy, hold the velocity. It should help because the error is
what the model was trained on, with far less variance than the steps of a stochastic sampler, and needs none.

Source: github.com/scxue/advantage_weighted_matching at be513723. Mended: with a KL weight of 0 the script reads what it
never computed. The paper's first form weighs all levels alike (variant `paper`); the released settings take a power of
the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.functional.denoising import matching_logp
from gamutrl.functional.divergences import mean_square
from gamutrl.functional.objectives import clipped_surrogate
from gamutrl.functional.ratios import log_ratio
from gamutrl.policies.flow import FlowSampling
from gamutrl.recipes.denoising_plain import EPOCH
from gamutrl.recipes.flow_plain import PICK_A_PIC, PICKSCORE, SD3, paper, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.training.defaults import ActionWeights, GroupAdvantage, Reference
from gamutrl.training.forward import Ends, Lagging, Noised, OfSampler, clean_of, predictions
from gamutrl.training.optimizer import AdamW


@dataclass(frozen=True)
class AdvantageWeighted:
    """The clipped surrogate of matching errors, and pulls to two copies' velocities: an `objective` on predictions.

    weighting: of levels and errors (`functional.denoising.matching_logp`). scale: of advantages. pull, pull_old: to the
    base and to the copy "lagging".
    """

    weighting: Literal["uniform", "t", "t2", "huber", "power"] = "power"
    clip: float = 1.0
    scale: float = 0.2
    pull: float = 1e-4
    pull_old: float = 1.0

    def __call__(self, predicted_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        predicted, noise, clean, level, *copies = (
            tensor.to(predicted_NT.device).flatten(0, 1)
            for tensor in (
                predicted_NT,
                batch["noise_NL"],
                clean_of(batch),
                batch["level_NL"],
                batch["predicted_base_NT"],
                batch["predicted_lagging_NT"],
            )
        )
        logp_NT = matching_logp(predicted, clean, noise, level, self.weighting).view(batch.mask_NT.shape)
        advantage_NT = self.scale * batch["advantage_NT"].to(logp_NT)
        terms_NT = clipped_surrogate(log_ratio(logp_NT, None), advantage_NT, self.clip)
        base_M, lagging_M = (mean_square(predicted, copy) for copy in copies)
        return terms_NT + (self.pull * base_M + self.pull_old * lagging_M).view_as(terms_NT)


FORWARD: dict[str, Any] = {
    "rollout": Ends(levels=6),
    "advantage": GroupAdvantage(scale="batch", unbiased=False, clip=5.0),
    "prepare": Noised(OfSampler(steps=14, count=6, order="stratified", share=0.9), references=("base", "lagging")),
    "likelihood": predictions,
    "objective": AdvantageWeighted(),
    "kl": None,
    "weights": ActionWeights("token"),
    "references": (Reference("base"), Lagging("lagging", points=((0, 0.0), (300, 0.3)))),
}
"""What is changed: advantages within ±1, one surrogate for each of six levels, a lagging copy that soon catches up."""

TINY = tiny(
    sampling=FlowSampling(steps=14, eta=0.0),
    measured_by=FlowSampling(steps=14, eta=0.0),
    **{
        **FORWARD,
        "steps": 40,
        "prompts_per_step": 16,
        "objective": AdvantageWeighted(pull=0.2),
        "optimizer": AdamW(lr=1e-4, weight_decay=1e-4),
    },
)

PAPER = paper(
    SD3,
    PICK_A_PIC,
    (PICKSCORE,),
    sampling=FlowSampling(steps=14, eta=0.0),
    measured_by=FlowSampling(steps=40, eta=0.0),
    **{
        **FORWARD,
        **EPOCH,
        "prepare": Noised(
            OfSampler(steps=14, count=6, order="stratified", share=0.9, shift=3.0), references=("base", "lagging")
        ),
    },
)

RECIPE = Recipe(
    title="Advantage Weighted Matching: Aligning RL with Pretraining in Diffusion Models",
    arxiv="2509.25050",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="minus the matching error of samples noised anew takes the log-probability's place in the surrogate",
    formulas=(
        "e = mean (v_θ(x_t) − (ε − x₀))², log p ≈ −t (e + 10⁻¹⁰)^¼ · 4",
        "loss = max(−A ρ, −A clip(ρ, 0, 2)), ρ = exp(log p − log p_old), A within ±1",
        "+ β mean (v_θ − v_base)² + mean (v_θ − v_lagging)²",
    ),
    tiny=TINY,
    paper=PAPER,
    variants={
        "tiny/paper": with_stage(TINY, objective=AdvantageWeighted("uniform", pull=0.2)),
        "paper/paper": with_stage(PAPER, objective=AdvantageWeighted("uniform")),
    },
    claim=Claim("gold score", baseline="flow-grpo, at equal samples", budget="rollouts"),
    assumptions={
        "tiny.stages.rl.objective.pull": "0.2: all weights are trained, not an adapter; samples would leave the data",
        "paper.sampling": "Euler steps; the released settings sample with SA-Solver, without noise for PickScore",
        "paper.prompts_per_step": "48 groups: the released number depends on how many GPUs there are",
    },
)
