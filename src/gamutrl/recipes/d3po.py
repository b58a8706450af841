"""D3PO: Using Human Feedback to Fine-tune Diffusion Models without Any Reward Model (arXiv 2311.13231).

What it changes, against DDPO: no reward is needed, only which of two pictures is better. Both are denoised from the
same first noise, and at every step DPO's loss compares the step's log-ratio to a frozen reference, each kept within a
ratio of 1 ± 0.1. It should help because a preference is easier to have than a reward, and because two paths from one
noise differ by the steps that are trained alone.

Source: github.com/yk7333/d3po at 40d31758. Here a scorer says which is better, as in the released online script; with
several pictures a prompt, every two of them are a pair, as with human scores there. Ties teach nothing.
"""

from __future__ import annotations

from typing import Any

from gamutrl.core import Batch, Context
from gamutrl.data.sources import Texts
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.models import FlowModel, Lora
from gamutrl.recipes.ddpo import ANIMALS
from gamutrl.recipes.flow_plain import FEW, paper, tiny
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.rewards.models.embedding import AestheticScore
from gamutrl.training.defaults import ActionWeights, Reference
from gamutrl.training.optimizer import AdamW
from gamutrl.training.preference import Gain, PairLoss
from gamutrl.training.rl import RL


def compared(stage: RL, batch: Batch, context: Context) -> Batch:
    """A `prepare`: what is better is what was rewarded more; and the base's log-probabilities of every step."""
    policy = context.models[stage.trains]
    with policy.reference("base"):
        return batch.with_(label_R=batch["reward_R"], logp_base_NT=policy.log_probs(batch))


STEPWISE: dict[str, Any] = {
    "group_size": 2,
    "prepare": compared,
    "objective": PairLoss(beta=0.1, gain=Gain("action", clip=0.1)),
    "weights": ActionWeights("group"),
    "references": (Reference("base"),),
    "kl": None,
}

TINY = tiny(
    sampling=FlowSampling(steps=10, eta=0.7, noise="shared", trained=FEW),
    **{
        **STEPWISE,
        "objective": PairLoss(beta=0.1, gain=Gain("action", clip=0.5)),
        "prompts_per_step": 64,
        "optimizer": AdamW(lr=5e-4, weight_decay=1e-4),
    },
)

AESTHETIC = Reward("aesthetic", AestheticScore())
PAPER = paper(
    FlowModel("stable-diffusion-v1-5/stable-diffusion-v1-5", lora=Lora(4, 4.0)),
    Texts(tuple(ANIMALS.split())),
    (AESTHETIC,),
    sampling=FlowSampling(steps=20, eta=1.0, guidance=5.0, noise="shared", detach_negative=False),
    measured_by=FlowSampling(steps=20, eta=1.0, guidance=5.0),
    **{
        **STEPWISE,
        "steps": 400,
        "prompts_per_step": 10,
        "minibatches": 10,
        "rows_per_forward": 2,
        "optimizer": AdamW(lr=3e-5, weight_decay=1e-4),
    },
)

RECIPE = Recipe(
    title="Using Human Feedback to Fine-tune Diffusion Models without Any Reward Model",
    arxiv="2311.13231",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="DPO at every denoising step of two paths from one noise, by which picture is better",
    formulas=(
        "ρᵢ = clip(exp(log p_θ(x_{t−1} | x_t) − log p_base), 1 ± 0.1), for the better (w) and the worse (l) path",
        "loss = −log σ(β (log ρ_w − log ρ_l)), the mean over steps",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim("gold score", baseline="ddpo, at equal samples", budget="rollouts"),
    assumptions={
        "tiny.stages.rl.sampling.trained": "the first steps, where the world's pictures decide what is worth most",
        "tiny.model": "the flow, by an SDE: the last steps of the world's small diffusion have next to no noise",
        "tiny.stages.rl.objective.gain.clip": "0.5: a mean over 64 numbers spreads further than one over 16,384",
        "paper.minibatches": "an update a pair, whose 20 steps are accumulated, as released",
    },
)
