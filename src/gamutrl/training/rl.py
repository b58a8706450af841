"""The RL stage: one plain loop over functions, each with plain GRPO's default.

prompts ─rollout▶ R rollouts, N rows ─score▶ reward_RK ─combine, advantage▶ advantage_NT ─select▶ ─prepare▶ ─loss▶
update
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt, Sampling, Source
from gamutrl.environments import Environment, SingleTurn
from gamutrl.functional.weights import masked_mean
from gamutrl.metrics import behaviour
from gamutrl.policies.base import Policy
from gamutrl.policies.flow.sampling import FlowSampling
from gamutrl.rewards.base import Reward
from gamutrl.rewards.table import RewardError, score, weighted_sum
from gamutrl.training import ranks
from gamutrl.training.collect import source_of
from gamutrl.training.defaults import (
    KL,
    ActionWeights,
    ClippedSurrogate,
    GroupAdvantage,
    Reference,
    keep_all,
    old_and_reference,
    sample_groups,
)
from gamutrl.training.flow import GaussianKL
from gamutrl.training.optimizer import AdamW
from gamutrl.training.samples import describe_group
from gamutrl.training.schedule import Number, at
from gamutrl.training.session import Session, StepRecord, Timer, stateful
from gamutrl.training.update import update, whose

RolloutFn = Callable[["RL", Sequence[Prompt], Context], Batch]
CombineFn = Callable[[Batch, Context], Tensor]
AdvantageFn = Callable[[Batch, Context], Tensor | Batch]
SelectFn = Callable[[Batch, Context], Batch | None]
PrepareFn = Callable[["RL", Batch, Context], Batch]
LikelihoodFn = Callable[[Any, Batch], Tensor]
ObjectiveFn = Callable[[Tensor, Batch, Context], Tensor]
UpdateHook = Callable[["RL", Batch, Context], None]


@dataclass(frozen=True)
class RL:
    """Reinforcement learning, plain GRPO unless a field says otherwise.

    data: where prompts come from. rewards: scored in order. rollout: `(stage, prompts, context) -> batch`.
    combine: the table `reward_RK` to `reward_R`. advantage: `(batch, context) -> advantage_R` or `advantage_NT`, or the
    batch with `advantage_NT` and what else it found (`training.critic`).
    select: `(batch, context) -> batch`, or None to sample on (at most `max_draws` times a step). prepare: `(stage,
    batch, context) -> batch`, without gradient: old and reference log-probabilities, drawn corruptions. likelihood:
    `(policy, batch) -> value_NT…`, what the objective is given (None: the log-probabilities of the rollouts' own
    actions; see `training.forward` for others). objective: `(logp_NT, batch, context) -> loss_NT`, terms that `weights`
    adds up. kl: a penalty against a named reference, in the loss or in the reward. statistics: of each action's
    distribution (full-vocabulary ones, means of denoising steps), by name; the objective finds them on its batch as
    `<name>_NT`. after_update: hooks after each step. references: named copies of the policy and how they follow it.

    updates_per_batch: how often a batch is used; minibatches: into how many parts (of whole groups) it is split each
    time; rows_per_forward: the most rows in one forward pass (0: a minibatch in one; groups are never split).
    """

    data: Source
    rewards: tuple[Reward, ...]
    name: str = "rl"
    trains: str = "policy"
    steps: int = 100
    prompts_per_step: int = 8
    group_size: int = 8
    environment: Environment = SingleTurn()
    sampling: Sampling | FlowSampling = Sampling()
    rollout: RolloutFn = sample_groups
    combine: CombineFn = weighted_sum
    advantage: AdvantageFn = GroupAdvantage()
    select: SelectFn = keep_all
    prepare: PrepareFn = old_and_reference
    likelihood: LikelihoodFn | None = None
    objective: ObjectiveFn = ClippedSurrogate()
    weights: ActionWeights = ActionWeights()
    kl: KL | GaussianKL | None = KL()
    entropy_bonus: Number = 0.0
    statistics: tuple[tuple[str, Callable[..., Tensor]], ...] = ()
    references: tuple[Reference, ...] = ()
    after_update: tuple[UpdateHook, ...] = ()
    optimizer: AdamW = AdamW()
    updates_per_batch: int = 1
    minibatches: int = 1
    rows_per_forward: int = 0
    max_draws: int = 20
    reward_timeout: float = 60.0
    samples_per_step: int = 1

    def __post_init__(self) -> None:
        for name in ("prompts_per_step", "group_size", "updates_per_batch", "minibatches", "max_draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.likelihood is not None and self.kl is not None and self.kl.in_loss:
            raise ValueError("kl compares log-probabilities of actions; beside a `likelihood` of its own set kl=None.")
        names = [reward.name for reward in self.rewards]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"Two rewards are called {', '.join(sorted(doubled))}: give each its own name.")

    @property
    def rollouts_per_step(self) -> int:
        """How many rollouts a step samples, at most, for one draw: what a comparison at equal cost counts.

        A `rollout` hook that samples more than it hands on to be trained says how many by `beside(group_size)`, one
        that samples in its own way how many a prompt by `rollouts(stage)`.
        """
        if hasattr(self.rollout, "rollouts"):
            return self.prompts_per_step * self.rollout.rollouts(self)
        beside = self.rollout.beside(self.group_size) if hasattr(self.rollout, "beside") else 0
        return self.prompts_per_step * (self.group_size + beside)

    # -- the loop -------------------------------------------------------------------------------------------------

    def run(self, session: Session) -> None:
        # What its fields remember belongs to this run. Rows do not change, and what serves them cannot be copied.
        data = source_of(self.data, session)
        stage = replace(copy.deepcopy(self, {id(self.data): self.data}), data=data)
        policy: Policy = session.models[stage.trains]
        if session.fresh:  # A restored policy brings its references with it.
            for reference in stage.all_references():
                policy.keep_reference(reference.name)
        optimizer = stage.optimizer.build(policy.parameters())
        draws = _Draws()
        state = {**stateful(stage), "optimizer": optimizer, "draws": draws}
        for record in session.steps(stage.name, stage.steps, state):
            context = session.context(record.step, stage.steps)
            context.score_batch = functools.partial(stage.score, context)
            stage.step(policy, optimizer, draws, context, record, session)

    def step(
        self,
        policy: Policy,
        optimizer: torch.optim.Optimizer,
        draws: _Draws,
        context: Context,
        record: StepRecord,
        session: Session,
    ) -> None:
        """One step: sample until `select` is content, then update."""
        timer = Timer()
        for _ in range(self.max_draws):
            prompts = self.data.batch(draws.next(), self.prompts_per_step, session.stage_seed)
            with timer("rollout"), torch.no_grad():
                sampled = self.rollout(self, prompts, context)
            if not (sampled.logp_sampled_NT.isfinite() | ~sampled.mask_NT).all():
                told = f"What was sampled at step {context.step} has log-probabilities that are not finite"
                raise session.fail(f"{told}, {whose(prompts)}: the weights are broken.")
            with timer("score"), torch.no_grad():
                try:
                    scored = self.with_advantage(self.score(context, sampled), context)
                except RewardError as error:
                    raise session.fail(f"Step {context.step}: {str(error).rstrip('.')}.") from error
                if len(scored.rollouts) and bool(scored["reward_R"].isnan().all()):
                    told = f"No reward applies to anything that was sampled at step {context.step}, {whose(prompts)}"
                    told += ": every one answered NaN (does not apply)"
                    raise session.fail(f"{told}. `--dry-run` shows which apply to the first rows.")
                batch = self.select(scored, context)
            if batch is not None:
                break
        record.samples = describe_group(scored, self.samples_per_step, session.folder)
        record.metrics |= _reward_metrics(scored)
        if not isinstance(self.environment, SingleTurn):
            record.metrics |= behaviour.of_episodes(scored.rollouts)
        if batch is None or not batch.rows:
            record.metrics |= {"skipped": True, **context.metrics, **_speed(scored, timer)}
            session.say(f"Step {context.step}: nothing to learn from in {self.max_draws} draws; no update.")
            return
        with timer("update"):
            with torch.no_grad():
                batch = self.prepare(self, batch, context)
            record.metrics |= update(self, policy, optimizer, batch, context, session)
            for hook in self.after_update:
                hook(self, batch, context)
            for reference in self.all_references():
                reference.follow(policy, context)
        record.metrics |= context.metrics | _speed(scored, timer)

    # -- the parts ------------------------------------------------------------------------------------------------

    def all_references(self) -> tuple[Reference, ...]:
        """The named references, with that of the KL penalty among them."""
        wanted = self.kl.reference if self.kl is not None and self.kl.applies else None
        if wanted is None or any(reference.name == wanted for reference in self.references):
            return self.references
        return (*self.references, Reference(wanted))

    def with_advantage(self, batch: Batch, context: Context) -> Batch:
        """The scored batch with `reward_R` and `advantage_NT`; rollouts that ended in error have left it."""
        failed = [rollout.end == "error" for rollout in batch.rollouts]
        if any(failed):
            context.metrics["rollouts/error"] = context.metrics.get("rollouts/error", 0) + sum(failed)
            batch = batch.take_rollouts(~torch.tensor(failed))
        reward_R = self.combine(batch, context)
        if self.kl is not None and self.kl.in_reward:
            batch = self.kl.score(context.models[self.trains], batch)
            penalty_N = (self.kl.terms(batch.logp_sampled_NT, batch) * batch.mask_NT).sum(-1)
            reward_R = reward_R - at(self.kl.weight, context.progress) * batch.rows_to_rollouts(penalty_N)
        batch = batch.with_(reward_R=reward_R)
        found = self.advantage(batch, context)
        if isinstance(found, Batch):
            batch, found = found, found["advantage_NT"]
        return batch.with_(advantage_NT=per_action(found, batch))

    def loss(self, policy: Policy, batch: Batch, context: Context) -> tuple[Tensor, dict[str, float]]:
        """The loss terms `[N, T]` of some rows, and what they measured (masked means)."""
        if self.likelihood is not None:
            return self.objective(self.likelihood(policy, batch), batch, context), {}
        bonus = at(self.entropy_bonus, context.progress)
        statistics = dict(self.statistics)
        if self.kl is not None and self.kl.applies:
            statistics |= self.kl.statistics
        if bonus:
            from gamutrl.policies.scoring import entropy

            statistics["entropy"] = entropy
        if statistics:
            logp_NT, values = policy.log_probs(batch, statistics)
            batch = replace(batch, tensors={**batch.tensors, **{f"{k}_NT": v for k, v in values.items()}})
        else:
            logp_NT = policy.log_probs(batch)
        terms_NT = self.objective(logp_NT, batch, context)
        mask_NT = batch.mask_NT.to(terms_NT.device)
        if self.kl is not None and self.kl.in_loss:
            terms_NT = terms_NT + at(self.kl.weight, context.progress) * self.kl.terms(logp_NT, batch)
        if bonus:
            terms_NT = terms_NT - bonus * batch["entropy_NT"]
        with torch.no_grad():
            measured = {"entropy": float(masked_mean(-logp_NT.detach(), mask_NT))}
            if bonus:
                measured["entropy"] = float(masked_mean(batch["entropy_NT"].detach(), mask_NT))
            if self.kl is not None and self.kl.applies:
                measured["kl"] = float(masked_mean(self.kl.terms(logp_NT.detach(), batch), mask_NT))
            if "logp_old_NT" in batch:
                ratio_NT = (logp_NT.detach() - batch["logp_old_NT"].to(logp_NT.device)).exp()
                measured["ratio/mean"] = float(masked_mean(ratio_NT, mask_NT))
        return terms_NT, measured

    def score(self, context: Context, batch: Batch, names: Sequence[str] | None = None) -> Batch:
        """The batch with its reward table: all of the stage's rewards, or those named."""
        rewards = self.rewards if names is None else [reward for reward in self.rewards if reward.name in names]
        return ranks.alike(score(rewards, batch, context, timeout=self.reward_timeout))


class _Draws:
    """How many batches of prompts were drawn so far: a step may draw several."""

    def __init__(self) -> None:
        self.count = 0

    def next(self) -> int:
        self.count += 1
        return self.count - 1

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


def per_action(advantage: Tensor, batch: Batch) -> Tensor:
    """An advantage a rollout `[R]` or a row `[N, 1]` spread over its actions; one an action `[N, T]` is left as it
    is."""
    shape = batch.mask_NT.shape
    if advantage.dim() == 1 and len(advantage) == len(batch.rollouts):
        advantage = advantage[batch.rollout_N][:, None]
    if advantage.dim() != 2 or advantage.shape[0] != shape[0]:
        raise ValueError(
            f"An advantage must have the axes R or NT (R={len(batch.rollouts)}, NT={list(shape)}), "
            f"not {list(advantage.shape)}."
        )
    return advantage.expand(shape) * batch.mask_NT


def _reward_metrics(batch: Batch) -> dict[str, float]:
    reward_R = batch["reward_R"].double()
    table_RK = batch["reward_RK"].double()
    mask_NT = batch.mask_NT
    advantages = batch["advantage_NT"][mask_NT].double()
    spreads = [reward_R[batch.group_R == group] for group in batch.group_R.unique()]
    length_R = batch.length_R.double()
    metrics = {
        "reward/mean": reward_R.mean(),
        "reward/std": torch.stack([s.std() if len(s) > 1 else s.new_zeros(()) for s in spreads]).mean(),
        "advantage/mean": advantages.mean() if len(advantages) else 0.0,
        "advantage/std": advantages.std() if len(advantages) > 1 else 0.0,
        "advantage/max": advantages.abs().max() if len(advantages) else 0.0,
        "length/mean": length_R.mean(),
        "length/max": length_R.max(),
        "length/truncated": sum(r.end in ("length", "budget") for r in batch.rollouts) / len(batch.rollouts),
    }
    if spreads := [s for s in spreads if len(s) > 1]:  # One rollout alone has nothing to spread over.
        metrics["groups/without_spread"] = sum(bool((s == s[0]).all()) for s in spreads) / len(spreads)
    for k, name in enumerate(batch.reward_names):
        metrics[f"reward/{name}"] = table_RK[:, k].nanmean()
    return {key: float(value) for key, value in metrics.items()}


def _speed(batch: Batch, timer: Timer) -> dict[str, float]:
    tokens = float(batch.length_R.sum())
    return {
        **{f"seconds/{name}": seconds for name, seconds in timer.seconds.items()},
        "tokens_per_second": tokens / max(1e-9, sum(timer.seconds.values())),
    }
