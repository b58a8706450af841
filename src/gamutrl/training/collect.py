"""The collect stage: sample, score, keep. It changes no weights; it writes rows that later stages read by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gamutrl.core import Batch, Context, Prompt, Sampling, Source
from gamutrl.data.rows import FileRows
from gamutrl.data.writer import append_rows, written_rows
from gamutrl.environments import Environment, SingleTurn
from gamutrl.policies.base import Policy
from gamutrl.rewards.base import Reward
from gamutrl.rewards.table import score, weighted_sum
from gamutrl.training.session import Session, StepRecord, Timer

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
class Round:
    """A step of a stage that writes rows: the prompts that it is about, and where what is kept of them goes."""

    record: StepRecord
    context: Context
    prompts: list[Prompt]
    timer: Timer
    file: Path

    def keep(self, rows: Sequence[Prompt], reward: float) -> None:
        """Writes the rows, and what became of the step: the mean reward of what was sampled, the seconds it took."""
        append_rows(self.file, rows, part=self.record.step)
        self.record.metrics |= {
            "rows/kept": len(rows),
            "rows/total": written_rows(self.file, parts=self.record.step + 1),
            "reward/mean": reward,
            **{f"seconds/{name}": seconds for name, seconds in self.timer.seconds.items()},
        }


class Collecting:
    """A stage that goes through `rows` prompts of `data`, and writes what it keeps as the dataset `into`, a part a
    step. Resumes by row."""

    data: Source
    into: str
    name: str
    rows: int
    prompts_per_step: int

    @property
    def steps(self) -> int:
        return -(-self.rows // self.prompts_per_step)

    def rounds(self, session: Session) -> Iterator[Round]:
        file = session.folder / "products" / f"{self.into}.parquet"
        session.products[self.into] = file
        for record in session.steps(self.name, self.steps, {}):
            prompts = self.data.batch(record.step, self.prompts_per_step, session.stage_seed)
            yield Round(record, session.context(record.step, self.steps), prompts, Timer(), file)


@dataclass(frozen=True)
class Collect(Collecting):
    """Rolls out `rows` prompts `group_size` times, scores them, and writes what `keep` keeps as the dataset `into`.

    What was dropped is counted in `metrics.jsonl`.
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

    def run(self, session: Session) -> None:
        policy: Policy = session.models[self.trains]
        for one in self.rounds(session):
            seed = int(one.context.generator("rollout").initial_seed())
            with one.timer("rollout"), torch.no_grad():
                batch = policy.rollout(one.prompts, self.group_size, self.environment, self.sampling, seed=seed)
            batch = score(self.rewards, batch, one.context)
            batch = batch.with_(reward_R=weighted_sum(batch, one.context))
            kept = self.keep(batch, one.context)
            one.keep(kept, float(batch["reward_R"].mean()))
            one.record.metrics["rows/dropped"] = len(one.prompts) - len(kept)
