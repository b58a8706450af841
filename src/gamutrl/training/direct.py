"""The direct stage: a differentiable reward is climbed through the sampler itself; no likelihood, no advantage.

prompts ─begin▶ noise ─sample▶ clean latents with a gradient ─decode, score▶ reward_R ─objective▶ loss_R ▶ update

What differs between methods is how much of the path carries the gradient: the last steps (`LastSteps`), a drawn number
of them (`DrawnSteps`), or one prediction of the clean latent at a late step (`LateStep`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Rollout, Source
from gamutrl.policies.flow.policy import FlowPolicy
from gamutrl.policies.flow.sampling import FlowSampling
from gamutrl.policies.flow.state import State
from gamutrl.rewards.base import Reward
from gamutrl.rewards.table import score, weighted_sum
from gamutrl.training.defaults import Reference
from gamutrl.training.optimizer import AdamW
from gamutrl.training.samples import describe_group
from gamutrl.training.session import Session
from gamutrl.training.update import Piece, descend, whose
from gamutrl.training.walk import of_run, walk

SampleFn = Callable[[FlowPolicy, State, torch.Generator], Tensor]
"""`(policy, noise, generator) -> latent_R`: clean latents, with the gradient that the method lets through; as many as
there are paths, or a multiple, side by side."""

LossFn = Callable[[Tensor, Batch, Context], Tensor]
"""`(reward_R, batch, context) -> loss_R`."""


# -- how far the gradient goes ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LastSteps:
    """Denoises to the end; the last `count` steps carry the gradient (DRaFT-K, arXiv 2309.17400; 0: all of them)."""

    count: int = 1

    def __call__(self, policy: FlowPolicy, state: State, generator: torch.Generator) -> Tensor:
        return through(policy, state, state.grid.steps - self.count if self.count else 0)


@dataclass(frozen=True)
class DrawnSteps:
    """As `LastSteps`, from a step on that is drawn for each batch (AlignProp, arXiv 2310.03739).

    The first step with a gradient is the whole part of a normal draw of this mean and deviation, drawn again until it
    lies in [1, steps - 1].
    """

    mean: float = 42.0
    std: float = 5.0

    def __call__(self, policy: FlowPolicy, state: State, generator: torch.Generator) -> Tensor:
        return through(policy, state, self.first(state.grid.steps, generator))

    def first(self, steps: int, generator: torch.Generator) -> int:
        """The step that was drawn. Raises ValueError where no draw falls on a step."""
        for _ in range(1000):
            drawn = int(self.mean + self.std * float(torch.randn((), generator=generator)))
            if 1 <= drawn < steps:
                return drawn
        raise ValueError(f"No draw around {self.mean:g} falls on one of {steps} steps: choose another mean.")


@dataclass(frozen=True)
class NoisedAgain:
    """Denoises to the end without gradient, noises the outcome to the last level `copies` times, and takes that last
    step from each, with gradient: many cheap draws of one step's gradient (DRaFT-LV, arXiv 2309.17400)."""

    copies: int = 2

    def __call__(self, policy: FlowPolicy, state: State, generator: torch.Generator) -> Tensor:
        last = state.grid.steps - 1
        with torch.no_grad():
            while state.step < last:
                state, _ = policy.step(state)
            clean_R = policy.step(state)[0].latent_R.repeat_interleave(self.copies, 0)
            noise_R = torch.randn(clean_R.shape, generator=generator).to(clean_R)
            noised_R = policy.denoiser.schedule.mix(clean_R, noise_R, state.grid.level_S1[last])
        again = replace(state.fork(self.copies), latent_R=noised_R, predicted=[])
        return policy.step(again)[0].latent_R


@dataclass(frozen=True)
class LateStep:
    """Denoises without gradient to a step drawn from `first` to `last`, then predicts the clean latent from there.

    Only that prediction carries a gradient (ReFL, arXiv 2304.05977). Steps count from 0.
    """

    first: int
    last: int

    def __call__(self, policy: FlowPolicy, state: State, generator: torch.Generator) -> Tensor:
        if not 0 <= self.first <= self.last < state.grid.steps:
            raise ValueError(
                f"A late step is drawn from {self.first} to {self.last}, but the sampler's steps are 0 to "
                f"{state.grid.steps - 1}."
            )
        until = int(torch.randint(self.first, self.last + 1, (), generator=generator))
        with torch.no_grad():
            while state.step < until:
                state, _ = policy.step(state)
        return policy.clean(state)


def through(policy: FlowPolicy, state: State, first: int) -> Tensor:
    """The path to its end, with gradient from step number `first` on."""
    if not 0 <= first < state.grid.steps:
        raise ValueError(f"No gradient starts at step {first}: the sampler's steps are 0 to {state.grid.steps - 1}.")
    while not state.done:
        with torch.set_grad_enabled(state.step >= first):
            state, _ = policy.step(state)
    return state.latent_R


# -- the stage --------------------------------------------------------------------------------------------------------


def negative(reward_R: Tensor, batch: Batch, context: Context) -> Tensor:
    """Minus the reward: the plain method's loss."""
    return -reward_R


@dataclass(frozen=True)
class Direct:
    """Gradient ascent on rewards, through the last step of the sampler unless a field says otherwise.

    data: where prompts come from. rewards: those with a weight must be differentiable; weight 0 only measures.
    sampling: of the path. sample: how much of it carries the gradient. objective: `(reward_R, batch, context) ->
    loss_R`, whose mean is minimised. copies: samples of a prompt. prompts_per_forward: the most prompts in one forward
    pass (0: all). references: named copies of the policy and how they follow it.
    """

    data: Source
    rewards: tuple[Reward, ...]
    name: str = "direct"
    trains: str = "policy"
    steps: int = 100
    prompts_per_step: int = 32
    copies: int = 1
    sampling: FlowSampling = FlowSampling(eta=0.0)
    sample: SampleFn = LastSteps()
    objective: LossFn = negative
    references: tuple[Reference, ...] = ()
    optimizer: AdamW = AdamW()
    prompts_per_forward: int = 0
    samples_per_step: int = 1

    def __post_init__(self) -> None:
        for reward in self.rewards:
            if reward.weight and not reward.differentiable:
                raise ValueError(
                    f"The reward {reward.name!r} is a rule: no gradient flows through it, and a direct stage learns "
                    "from nothing else. Choose a differentiable reward, give this one the weight 0 (it is then only "
                    "measured), or train with an RL stage."
                )
        if not any(reward.weight for reward in self.rewards):
            raise ValueError("A direct stage needs at least one reward with a weight.")

    @property
    def rollouts_per_step(self) -> int:
        """How many samples a step takes: what a comparison at equal cost counts."""
        return self.prompts_per_step * self.copies

    def run(self, session: Session) -> None:
        stage = of_run(self, session)
        for policy, optimizer, prompts, context, record, timer in walk(stage, session, stage.prompts_per_step):
            scored: list[Batch] = []
            with timer("update"):
                pieces = stage.pieces(policy, prompts, context, scored)
                done = (record.step + 1) / stage.steps
                record.metrics |= descend(pieces, stage.optimizer, optimizer, done, context, session)
            record.samples = describe_group(scored[0], stage.samples_per_step, session.folder)

    def pieces(
        self, policy: FlowPolicy, prompts: Sequence[Prompt], context: Context, scored: list[Batch]
    ) -> Iterator[Piece]:
        """The loss, a forward pass at a time; `scored` collects the batches (without gradient)."""
        most = self.prompts_per_forward or len(prompts)
        for start in range(0, len(prompts), most):
            part = prompts[start : start + most]
            batch = self.sampled(policy, part, context)
            batch = score(self.rewards, batch, context)
            batch = batch.with_(reward_R=weighted_sum(batch, context))
            loss_R = self.objective(batch["reward_R"], batch, context)
            share = len(part) / len(prompts)
            scored.append(replace(batch, tensors={name: tensor.detach() for name, tensor in batch.tensors.items()}))
            yield Piece(loss_R.mean() * share, _measured(scored[-1]), share, whose(part))

    def sampled(self, policy: FlowPolicy, prompts: Sequence[Prompt], context: Context) -> Batch:
        """A sample (or `copies`) of each prompt, whose output carries a gradient."""
        seed = int(context.generator("rollout").initial_seed())
        state = policy.begin(prompts, self.copies, self.sampling, seed=seed)
        latent_R = self.sample(policy, state, context.generator("truncation"))
        outputs = policy.denoiser.carry(policy.denoiser.decode(latent_R))
        owners = state.prompt_R.repeat_interleave(len(latent_R) // len(state)).tolist()
        rollouts = [Rollout(prompts[p], [], output=output) for p, output in zip(owners, outputs)]
        return Batch.of(prompts, rollouts, owners)


def _measured(batch: Batch) -> dict[str, float]:
    table = {f"reward/{name}": batch.reward(name).nanmean() for name in batch.reward_names}
    return {"reward/mean": float(batch["reward_R"].mean()), **{name: float(value) for name, value in table.items()}}
