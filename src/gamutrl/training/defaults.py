"""Plain GRPO, part by part: what the fields of an RL stage hold unless a recipe says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.functional.advantages import group_normalize
from gamutrl.functional.divergences import Estimator, kl_estimate
from gamutrl.functional.objectives import clipped_surrogate
from gamutrl.functional.ratios import Level, log_ratio
from gamutrl.functional.weights import action_weights
from gamutrl.policies.base import Policy
from gamutrl.training.schedule import Number, at

if TYPE_CHECKING:
    from gamutrl.training.rl import RL


def sample_groups(stage: RL, prompts: Sequence[Prompt], context: Context) -> Batch:
    """`group_size` rollouts of each prompt; a group is a prompt."""
    policy: Policy = context.models[stage.trains]
    seed = int(context.generator("rollout").initial_seed())
    return policy.rollout(prompts, stage.group_size, stage.environment, stage.sampling, seed=seed)


def keep_all(batch: Batch, context: Context) -> Batch:
    return batch


@dataclass(frozen=True)
class GroupAdvantage:
    """GRPO's advantage: the reward, less its group's mean, over a standard deviation (`functional.advantages`)."""

    scale: Literal["group", "batch", "none"] = "group"
    unbiased: bool = True
    eps: float = 1e-4
    eps_inside: bool = False
    singleton: Literal["zero", "raw"] = "zero"
    clip: float | None = None

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        return group_normalize(
            batch["reward_R"],
            batch.group_R,
            scale=self.scale,
            unbiased=self.unbiased,
            eps=self.eps,
            eps_inside=self.eps_inside,
            singleton=self.singleton,
            clip=self.clip,
        )


@dataclass(frozen=True)
class KeepGroups:
    """Keeps the groups whose mean of a column (a reward's name; None: the total) lies strictly inside (low, high).

    DAPO's dynamic sampling (arXiv 2503.14476) with its defaults: groups that all fail or all succeed teach nothing.
    `refill` keeps what fits and samples on until a whole batch is there; without it the step makes do with what is
    left.
    """

    low: float | None = None
    high: float | None = None
    column: str | None = None
    refill: bool = False

    def __call__(self, batch: Batch, context: Context) -> Batch | None:
        value_R = batch["reward_R"] if self.column is None else batch.reward(self.column)
        keep_R = torch.zeros(len(value_R), dtype=torch.bool)
        for group in batch.group_R.unique():
            inside = batch.group_R == group
            values = value_R[inside]
            mean = float(values.nanmean())
            spread = bool((values != values[0]).any())
            above = self.low is None or mean > self.low
            below = self.high is None or mean < self.high
            keep_R[inside] = above and below and (spread or self.low is not None or self.high is not None)
        context.metrics["groups/kept"] = float(keep_R.float().mean())
        return batch.take_rollouts(keep_R) if keep_R.any() else None


def old_and_reference(stage: RL, batch: Batch, context: Context) -> Batch:
    """Attaches the old log-probabilities, where a batch is used more than once, and those of the KL's reference."""
    policy: Policy = context.models[stage.trains]
    if stage.updates_per_batch * stage.minibatches > 1 and "logp_old_NT" not in batch:
        batch = batch.with_(logp_old_NT=sampled_log_probs(batch, policy, stage.sampling))
    if stage.kl is not None and stage.kl.applies:
        batch = stage.kl.score(policy, batch)
    return batch


def unless_cut_off(stage: RL, batch: Batch, context: Context) -> Batch:
    """`old_and_reference`; rollouts that did not come to their own end are not trained on (ViGoRL, 2505.23678)."""
    cut_N = torch.tensor([batch.rollouts[row.rollout].end in ("length", "budget") for row in batch.rows])
    return old_and_reference(stage, replace(batch, mask_NT=batch.mask_NT & ~cut_N[:, None]), context)


def sampled_log_probs(batch: Batch, policy: Policy, sampling: Any) -> Tensor:
    """The log-probabilities under which a batch was sampled, `[N, T]`, by the policy as it still is.

    What sampling recorded, where guidance and the policy's own path make that exact and no environment edited a turn;
    else they are computed.
    """
    exact = policy.exact and sampling.exact and all(t.exact for r in batch.rollouts for t in r.turns)
    return batch.logp_sampled_NT if exact else policy.log_probs(batch)


@dataclass(frozen=True)
class ClippedSurrogate:
    """The clipped policy-gradient objective of PPO and GRPO (`functional.objectives.clipped_surrogate`).

    low, high: the clip range below and above 1 (high None: as low). cap: a limit on the unclipped ratio, which is dual
    clip. level: whose ratio, each action's or its sequence's (GSPO). bound: a limit on the log-ratio. Without
    `logp_old_NT` on the batch the ratio is 1 and its gradient that of the log-probability.
    """

    low: float = 0.2
    high: float | None = None
    cap: float | None = None
    level: Level = "token"
    bound: float | None = None

    def __call__(self, logp_NT: Tensor, batch: Batch, context: Context) -> Tensor:
        ratio_NT = log_ratio(
            logp_NT, old_of(batch, logp_NT), batch.mask_NT.to(logp_NT.device), self.level, bound=self.bound
        )
        terms = clipped_surrogate(ratio_NT, batch["advantage_NT"].to(logp_NT), self.low, self.high, cap=self.cap)
        return terms.expand_as(logp_NT)


def old_of(batch: Batch, logp_NT: Tensor) -> Tensor | None:
    """The log-probabilities that the update compares with; None where the policy is still the one that sampled."""
    return batch["logp_old_NT"].to(logp_NT) if "logp_old_NT" in batch else None


@dataclass(frozen=True)
class KL:
    """A penalty that keeps the policy near a named reference.

    weight: a number or a schedule; 0 switches it off, unless `measure` asks to see it. kind, bound, clamp: the
    estimator (`functional.divergences.kl_estimate`). where: added to the loss, a term an action, or taken from the
    reward, summed over a rollout.
    """

    weight: Number = 0.04
    kind: Estimator = "k3"
    where: Literal["loss", "reward"] = "loss"
    reference: str = "base"
    bound: float | None = None
    clamp: float | None = None
    measure: bool = False

    @property
    def applies(self) -> bool:
        return self.measure or callable(self.weight) or self.weight != 0

    @property
    def in_loss(self) -> bool:
        return self.applies and self.where == "loss" and (callable(self.weight) or self.weight != 0)

    @property
    def in_reward(self) -> bool:
        return self.applies and self.where == "reward"

    @property
    def statistics(self) -> Mapping[str, Any]:
        """What it needs of the policy beside log-probabilities, by name: nothing."""
        return {}

    @property
    def column(self) -> str:
        return f"logp_{self.reference}_NT"

    def score(self, policy: Policy, batch: Batch) -> Batch:
        """The batch with the reference's log-probabilities."""
        if self.column in batch:
            return batch
        with policy.reference(self.reference), torch.no_grad():
            return batch.with_(**{self.column: policy.log_probs(batch)})

    def terms(self, logp_NT: Tensor, batch: Batch) -> Tensor:
        """The estimate, an action at a time."""
        return kl_estimate(logp_NT, batch[self.column].to(logp_NT), self.kind, bound=self.bound, clamp=self.clamp)


@dataclass(frozen=True)
class ActionWeights:
    """How loss terms are averaged (`functional.weights.action_weights`), from the whole update's mask.

    over: "token" (every action of the update counts the same), or a mean over each "sequence" (a trained row),
    "rollout" (all rows of one), "group" or "turn" first. constant: a unit's sum is divided by this, not by its length.
    """

    over: Literal["token", "sequence", "rollout", "group", "turn"] = "sequence"
    constant: float | None = None

    def __call__(self, batch: Batch) -> Tensor:
        unit: Tensor | Literal["token", "sequence"]
        match self.over:
            case "rollout":
                unit = batch.rollout_N
            case "group":
                unit = batch.group_N
            case "turn":
                unit = turn_numbers(batch)
            case _:
                unit = self.over
        return action_weights(batch.mask_NT, unit, constant=self.constant, count_empty=self.over != "turn")


def turn_numbers(batch: Batch) -> Tensor:
    """Which turn of the whole batch each action belongs to, `[N, T]`, -1 where there is no action."""
    turn_NT = torch.full(batch.mask_NT.shape, -1, dtype=torch.long)
    number = 0
    for n, row in enumerate(batch.rows):
        at_action = 0
        for t in row.turns:
            length = len(batch.rollouts[row.rollout].turns[t])
            turn_NT[n, at_action : at_action + length] = number
            at_action, number = at_action + length, number + 1
    return turn_NT


@dataclass(frozen=True)
class Reference:
    """A named copy of the policy and how it follows it: never (`every` 0), or copy ← decay · copy + (1 − decay) ·
    policy."""

    name: str = "base"
    every: int = 0
    decay: Number = 0.0

    def follow(self, policy: Any, context: Context) -> None:
        if self.every and (context.step + 1) % self.every == 0:
            policy.update_reference(self.name, at(self.decay, context.progress))
