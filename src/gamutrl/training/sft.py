"""The supervised stage: a warm start, or the baseline that RL is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gamutrl.core import Prompt, Source
from gamutrl.environments import Environment, SingleTurn
from gamutrl.environments.scripted import play
from gamutrl.policies.base import Policy
from gamutrl.training.collect import source_of
from gamutrl.training.defaults import ActionWeights
from gamutrl.training.optimizer import AdamW
from gamutrl.training.session import Session, Timer
from gamutrl.training.update import forward_parts

Target = Callable[[Prompt, int], Any]
"""`(prompt, seed) -> assistant text` to imitate, the texts of several turns, or whatever else the policy makes (a
picture)."""


@dataclass(frozen=True)
class Column:
    """Imitates a column of the row (by default its answer), put into a template."""

    name: str = "answer"
    template: str = "{value}"

    def __call__(self, prompt: Prompt, seed: int) -> str:
        value = prompt.answer if self.name == "answer" else prompt.columns.get(self.name)
        if value is None:
            raise ValueError(
                f"Row {prompt.id or '?'} has no {self.name!r} to imitate; it has: {', '.join(prompt.columns)}."
            )
        return self.template.replace("{value}", str(value))


@dataclass(frozen=True)
class Turns:
    """Imitates a column that holds the assistant's turns, a text each."""

    name: str = "turns"

    def __call__(self, prompt: Prompt, seed: int) -> list[str]:
        return [str(turn) for turn in prompt.columns[self.name]]


@dataclass(frozen=True)
class SFT:
    """Supervised fine-tuning: the mean negative log-likelihood of target texts given their prompts.

    data: rows, or the `Product` of an earlier stage. target: what to imitate. environment: answers between the turns of
    a target of several. rows_per_step: rows of one update. rows_per_forward: the most rows in one forward pass (0:
    all).
    """

    data: Source
    target: Target = Column()
    name: str = "sft"
    trains: str = "policy"
    steps: int = 100
    rows_per_step: int = 32
    rows_per_forward: int = 0
    weights: ActionWeights = ActionWeights("token")
    optimizer: AdamW = AdamW(lr=1e-5)
    environment: Environment = SingleTurn()

    def run(self, session: Session) -> None:
        policy: Policy = session.models[self.trains]
        optimizer = self.optimizer.build(policy.parameters())
        data = source_of(self.data, session)
        for record in session.steps(self.name, self.steps, {"optimizer": optimizer}):
            timer = Timer()
            seed = session.stage_seed + record.step
            prompts = data.batch(record.step, self.rows_per_step, session.stage_seed)
            batch = policy.demonstrated(prompts, [self._shown(p, seed * 4096 + i) for i, p in enumerate(prompts)])
            weight_NT = self.weights(batch)
            total = 0.0
            with timer("update"):
                for rows in forward_parts(batch, self.rows_per_forward):
                    logp_NT = policy.log_probs(batch.take_rows(rows))
                    loss = -(logp_NT * weight_NT[rows].to(logp_NT)).sum()
                    if not math.isfinite(float(loss.detach())):
                        ids = ", ".join(batch.prompts[p].id for p in batch.prompt_N[rows].tolist()[:8])
                        raise session.fail(f"The loss is {float(loss.detach())} at step {record.step}, rows {ids}.")
                    loss.backward()
                    total += float(loss.detach())
                norm = self.optimizer.step(optimizer, (record.step + 1) / self.steps)
                if not math.isfinite(norm):
                    raise session.fail(f"The gradient is {norm} at step {record.step}.")
            tokens = int(batch.mask_NT.sum())
            record.metrics |= {
                "loss": total,
                "grad_norm": norm,
                "length/mean": tokens / max(1, len(batch.rows)),
                "tokens_per_second": tokens / timer.seconds["update"],
            }

    def _shown(self, prompt: Prompt, seed: int) -> Any:
        said = self.target(prompt, seed)
        turns = isinstance(said, list | tuple) and all(isinstance(turn, str) for turn in said)
        return play(self.environment, prompt, seed, said) if turns else said
