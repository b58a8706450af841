"""DPOK: Reinforcement Learning for Fine-tuning Text-to-Image Diffusion Models (arXiv 2305.16381).

What it changes, against DDPO: every step is pulled to the pre-trained model, by the squared difference of their noise
predictions; a learned value of the noisy latent is taken from the reward in place of normalising it; and the ratio is
clamped hard, so that a step that has moved is left alone. It should help because the pull keeps pictures natural while
the reward rises, and the value tells what a latent was worth before the step.

Source: github.com/google-research/google-research, dpok, at 1d49f2c0 and 82b8f880. The code's pull leaves out the
factor that the exact KL of a step has. Released are single transitions drawn from a buffer of the last two rounds; here
each round's transitions are split into as many updates as are taken of it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.data.sources import Texts
from gamutrl.functional.objectives import clamped_surrogate
from gamutrl.functional.ratios import log_ratio
from gamutrl.policies.flow import FlowSampling
from gamutrl.policies.flow.policy import prediction
from gamutrl.policies.models import FlowModel, Lora
from gamutrl.policies.scorer import Value, words_of
from gamutrl.recipes.flow_plain import FEW, paper, tiny
from gamutrl.recipes.plain import with_stage
from gamutrl.recipes.recipe import Claim, Recipe
from gamutrl.rewards.base import Reward
from gamutrl.rewards.models.image_reward import ImageReward
from gamutrl.training.defaults import Reference, old_and_reference, old_of
from gamutrl.training.optimizer import AdamW
from gamutrl.training.rl import RL


@dataclass
class OverValue:
    """The reward less the learned value of the latent before each step, `[N, T]`: an `advantage`.

    Each time it first learns from the rewards: the squared error on `updates` draws of `rows` transitions, one step.
    """

    lr: float = 1e-4
    updates: int = 5
    rows: int = 256
    width: int = 256
    net: Any = field(default=None, init=False, repr=False, compare=False)
    optimizer: Any = field(default=None, init=False, repr=False, compare=False)
    sizes: tuple[int, int] = field(default=(0, 0), init=False, repr=False, compare=False)

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        steps = [(n, t, turn) for n in range(len(batch.rows)) for t, turn in _steps(batch, n)]
        turns = [(n, t, turn) for n, t, turn in steps if batch.mask_NT[n, t]]
        x_MD = torch.stack([turn.latent.flatten().float().cpu() for *_, turn in turns])
        step_M = torch.tensor([turn.step for *_, turn in turns])
        row_M, at_M = (torch.tensor(values) for values in zip(*[(n, t) for n, t, _ in turns]))
        words_N = [words_of(batch.rollouts[row.rollout].prompt) for row in batch.rows]
        reward_M = batch["reward_R"][batch.rollout_N][row_M].float()
        self.begin(x_MD.shape[1], max(turn.sampling.steps for *_, turn in turns))

        def value(index: Tensor) -> Tensor:
            words = [words_N[n] for n in row_M[index].tolist()]
            start = torch.tensor([0, *(len(some) for some in words[:-1])]).cumsum(0)
            return self.net(x_MD[index], step_M[index], torch.tensor([word for some in words for word in some]), start)

        generator = context.generator("value")
        with torch.enable_grad():
            errors = []
            for _ in range(self.updates):
                some = torch.randperm(len(turns), generator=generator)[: self.rows]
                errors.append((value(some) - reward_M[some]).square().mean())
            error = torch.stack(errors).mean()
            self.optimizer.zero_grad()
            error.backward()
            self.optimizer.step()
        context.metrics["value/error"] = float(error.detach())
        with torch.no_grad():
            over_M = reward_M - value(torch.arange(len(turns)))
        return torch.zeros(batch.mask_NT.shape).index_put((row_M, at_M), over_M)

    def begin(self, size: int, steps: int) -> None:
        """Make the network, once its sizes are known."""
        if self.net is None:
            self.sizes = (size, steps)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.net = Value(size, steps, self.width)
            self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=self.lr)

    def state_dict(self) -> dict[str, Any]:
        if self.net is None:
            return {"sizes": [0, 0]}
        return {"sizes": list(self.sizes), "net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["sizes"][0]:
            self.begin(*state["sizes"])
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])


def with_base_predictions(stage: RL, batch: Batch, context: Context) -> Batch:
    """A `prepare`: old log-probabilities, and what the base predicts at every step."""
    batch = old_and_reference(stage, batch, context)
    policy = context.models[stage.trains]
    with policy.reference("base"):
        _, values = policy.log_probs(batch, dict([PREDICTED]))
    return batch.with_(predicted_base_NTX=values["predicted"])


@dataclass(frozen=True)
class Clamped:
    """−scale · A · clamp(ratio), and a pull to the base's predictions: an `objective`."""

    clip: float = 1e-4
    scale: float = 10.0
    pull: float = 0.01

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        ratio_NT = log_ratio(logp_NT, old_of(batch, logp_NT))
        terms_NT = clamped_surrogate(ratio_NT, self.scale * batch["advantage_NT"].to(logp_NT), self.clip)
        apart_NT = (batch["predicted_NT"] - batch["predicted_base_NTX"]).square().flatten(2).mean(2)
        return terms_NT + self.pull * apart_NT


def _steps(batch: Batch, n: int) -> list[tuple[int, Any]]:
    row = batch.rows[n]
    return [(t, batch.rollouts[row.rollout].turns[number]) for t, number in enumerate(row.turns)]


PREDICTED = ("predicted", prediction)
ONLINE: dict[str, Any] = {
    "group_size": 1,
    "advantage": OverValue(),
    "prepare": with_base_predictions,
    "objective": Clamped(),
    "statistics": (PREDICTED,),
    "references": (Reference("base"),),
    "minibatches": 5,
    "kl": None,
}

TINY = tiny(
    sampling=FlowSampling(steps=10, eta=0.7, trained=FEW),
    **{
        **ONLINE,
        "advantage": OverValue(lr=1e-2, width=64),
        "prompts_per_step": 128,
        "minibatches": 1,
        "optimizer": AdamW(lr=5e-4, clip_norm=0.1),
    },
)

LIKED = Reward("image_reward", ImageReward())
PAPER = paper(
    FlowModel("stable-diffusion-v1-5/stable-diffusion-v1-5", lora=Lora(4, 4.0)),
    Texts(("A green colored rabbit.",)),
    (LIKED,),
    sampling=FlowSampling(steps=50, eta=1.0, guidance=7.5, detach_negative=False),
    measured_by=FlowSampling(steps=50, eta=1.0, guidance=7.5),
    **{
        **ONLINE,
        "steps": 2000,
        "prompts_per_step": 10,
        "rows_per_forward": 1,
        "optimizer": AdamW(lr=1e-5, clip_norm=0.1),
    },
)

RECIPE = Recipe(
    title="DPOK: Reinforcement Learning for Fine-tuning Text-to-Image Diffusion Models",
    arxiv="2305.16381",
    kind="generation",
    policy="flow",
    modalities=("text", "image"),
    change="a learned value of the noisy latent as the baseline, a hard clamp, a pull to the base's noise predictions",
    formulas=(
        "A = r(x₀) − V(x_t, c, t)",
        "loss = −α A clamp(ρ, 1 ± 10⁻⁴) + β mean (ε_θ(x_t) − ε_base(x_t))²",
    ),
    tiny=TINY,
    paper=PAPER,
    claim=Claim(
        "gold score at equal distance to the base", baseline="dpok/ablation, without the pull", budget="rollouts"
    ),
    variants={"tiny/ablation": with_stage(TINY, objective=Clamped(pull=0.0))},
    assumptions={
        "tiny.stages.rl.sampling.trained": "the first steps, where the world's pictures decide what is worth most",
        "tiny.model": "the flow, by an SDE: the last steps of the world's small diffusion have next to no noise",
        "tiny.stages.rl.minibatches": "1: over 64 numbers a ratio leaves the clamp with the first update",
        "value": "it reads the prompt's words; the released one reads CLIP's embedding of the prompt",
        "paper.data": "the single prompt that the released script defaults to",
    },
)
