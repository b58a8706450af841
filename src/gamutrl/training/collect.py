"""The collect stage: sample, score, keep. It changes no weights; it writes rows that later stages read by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from gamutrl.core import Batch, Context, Prompt, Sampling, Source
from gamutrl.data.rows import FileRows
from gamutrl.data.writer import append_rows, written_rows
from gamutrl.environments import Environment, SingleTurn
from gamutrl.policies.base import Policy
from gamutrl.rewards.base import Reward
from gamutrl.rewards.table import score, weighted_sum
from gamutrl.training.session import Session, Timer

Keep = Callable[[Batch, Context], Sequence[Prompt]]
"""`(scored batch, context) -> rows`: what later stages will read."""


@dataclass(frozen=True)
class PassRate:
    """Keeps each prompt with the mean of a reward as its column `pass_rate`, if it lies in [low, high]."""

    reward: str
    low: float = 0.0
    high: float = 1.0

    def __call__(self, batch: Batch, context: Context) -> list[Prompt]:
        value_R = batch.reward(self.reward)
        kept = []
        for p, prompt in enumerate(batch.prompts):
            rate = float(value_R[batch.prompt_R == p].nanmean())
            if self.low <= rate <= self.high:
                kept.append(replace(prompt, columns={**prompt.columns, "pass_rate": rate}))
        return kept


@dataclass(frozen=True)
class BestRollouts:
    """Keeps each prompt with its best rollout's text as the column `target`, if the total reward reaches `least`."""

    least: float = 1.0

    def __call__(self, batch: Batch, context: Context) -> list[Prompt]:
        kept = []
        for p, prompt in enumerate(batch.prompts):
            numbers = (batch.prompt_R == p).nonzero().flatten()
            best = int(numbers[batch["reward_R"][numbers].argmax()])
            if batch["reward_R"][best] >= self.least:
                kept.append(replace(prompt, columns={**prompt.columns, "target": batch.rollouts[best].text}))
        return kept


def with_turns(prompt: Prompt, turns: Sequence[str], number: int = 0) -> Prompt:
    """The row with an assistant's turns as its column `turns`, to be imitated (`sft.Turns`).

    number: of the demonstration among those of its row, which tells their ids apart.
    """
    return replace(prompt, columns={**prompt.columns, "turns": list(turns)}, id=f"{prompt.id}/{number}")


@dataclass(frozen=True)
class Product:
    """What an earlier stage of the run collected, by its name: the `data` of a supervised or an RL stage."""

    name: str

    def batch(self, index: int, size: int, seed: int) -> list[Prompt]:
        raise RuntimeError(f"What a run collects as {self.name!r} can only be drawn from in that run.")


def source_of(data: Source, session: Session) -> Source:
    """A stage's rows: its own, or what an earlier stage collected. Raises where nothing was kept."""
    if not isinstance(data, Product):
        return data
    file = session.products.get(data.name)
    if file is None or not written_rows(file):
        raise session.fail(f"No earlier stage kept any row as {data.name!r}.")
    return FileRows(str(file), split="all")


@dataclass(frozen=True)
class Collect:
    """Rolls out `rows` prompts `group_size` times, scores them, and writes what `keep` keeps as the dataset `into`.

    Resumes by row. What was dropped is counted in `metrics.jsonl`.
    """

    data: Source
    rewards: tuple[Reward, ...]
    keep: Keep
    into: str
    name: str = "collect"
    trains: str = "policy"
    rows: int = 256
    prompts_per_step: int = 16
    group_size: int = 8
    sampling: Sampling = Sampling()
    environment: Environment = SingleTurn()

    @property
    def steps(self) -> int:
        return -(-self.rows // self.prompts_per_step)

    def run(self, session: Session) -> None:
        policy: Policy = session.models[self.trains]
        file = session.folder / "products" / f"{self.into}.parquet"
        session.products[self.into] = file
        kept_before = written_rows(file)
        for record in session.steps(self.name, self.steps, {}):
            context = session.context(record.step, self.steps)
            timer = Timer()
            prompts = self.data.batch(record.step, self.prompts_per_step, session.stage_seed)
            with timer("rollout"), torch.no_grad():
                seed = int(context.generator("rollout").initial_seed())
                batch = policy.rollout(prompts, self.group_size, self.environment, self.sampling, seed=seed)
            batch = score(self.rewards, batch, context)
            batch = batch.with_(reward_R=weighted_sum(batch, context))
            kept = list(self.keep(batch, context))
            append_rows(file, kept, part=record.step)
            kept_before += len(kept)
            record.metrics |= {
                "rows/kept": len(kept),
                "rows/dropped": len(prompts) - len(kept),
                "rows/total": kept_before,
                "reward/mean": float(batch["reward_R"].mean()),
                **{f"seconds/{name}": seconds for name, seconds in timer.seconds.items()},
            }
