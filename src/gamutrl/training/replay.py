"""Replay: rollouts that once taught something take the places of those that teach nothing now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Rollout, Row, Sampling
from gamutrl.core.batch import pad
from gamutrl.training.defaults import sampled_log_probs
from gamutrl.training.portable import State, pack_prompt, pack_turn, unpack_prompt, unpack_turn


@dataclass
class Replay:
    """Fills the places of rollouts without an advantage from a buffer of earlier ones, drawn in proportion to |A|.

    A `select`. The batch keeps its size R: of the rollouts whose advantage is 0, as many as the buffer can answer for
    give way; the others stay, so that with an empty buffer the step is what it was. A replayed rollout brings the
    advantage it had and the log-probabilities it was sampled with (`logp_old_NT`), so that the clipped ratio knows how
    far the policy has moved since. A rollout's |A| is the mean over its actions; none is drawn twice in a step.

    capacity: how many rollouts are kept; the oldest leave first. max_age: steps after which one is too old (0: never).
    least: an advantage up to this is none. trains: the model whose rollouts these are. Measured: `replay/effective`,
    the share of rows with an advantage, before and after; `replay/share` of replayed rows and their mean age.
    """

    capacity: int = 512
    max_age: int = 0
    least: float = 1e-6
    trains: str = "policy"
    kept: list[Kept] = field(default_factory=list, init=False, repr=False, compare=False)

    def __call__(self, batch: Batch, context: Context) -> Batch:
        sampling = batch.info.get("sampling", Sampling())
        batch = batch.with_(logp_old_NT=sampled_log_probs(batch, context.models[self.trains], sampling).cpu())
        strength_R = strength(batch)
        alive_R = strength_R > self.least
        idle = (~alive_R).nonzero().flatten()
        drawn = self._draw(len(idle), context)
        alive, count = int(alive_R.sum()), max(1, len(alive_R))
        context.metrics |= {
            "replay/effective_before": alive / count,
            "replay/effective": (alive + len(drawn)) / count,
            "replay/share": len(drawn) / count,
            "replay/age": sum(context.step - kept.step for kept in drawn) / max(1, len(drawn)),
        }
        self._keep(batch, alive_R, strength_R, context.step)
        if not drawn:
            return batch
        stays_R = torch.ones_like(alive_R)
        stays_R[idle[: len(drawn)]] = False
        mixed = Batch.concat([batch.take_rollouts(stays_R), rebuilt(drawn, batch.reward_names)])
        mixed.cache = batch.cache  # This step's prompts come first and keep their numbers.
        return mixed

    def _draw(self, count: int, context: Context) -> list[Kept]:
        if self.max_age:
            self.kept = [kept for kept in self.kept if context.step - kept.step <= self.max_age]
        count = min(count, len(self.kept))
        if not count:
            return []
        weight = torch.tensor([kept.weight for kept in self.kept], dtype=torch.float64)
        chosen = torch.multinomial(weight, count, generator=context.generator("replay"))
        return [self.kept[k] for k in chosen.tolist()]

    def _keep(self, batch: Batch, alive_R: Tensor, strength_R: Tensor, step: int) -> None:
        prompts: dict[int, State] = {}
        for r in alive_R.nonzero().flatten().tolist():
            p = int(batch.prompt_R[r])
            if p not in prompts:
                prompts[p] = pack_prompt(batch.prompts[p])
            self.kept.append(kept_of(batch, r, prompts[p], float(strength_R[r]), step))
        self.kept = self.kept[-self.capacity :]

    def state_dict(self) -> State:
        """What is kept, each prompt once."""
        prompts = {id(kept.prompt): kept.prompt for kept in self.kept}
        number = {key: n for n, key in enumerate(prompts)}
        return {
            "prompts": list(prompts.values()),
            "kept": [{**vars(kept), "prompt": number[id(kept.prompt)]} for kept in self.kept],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.kept = [Kept(**{**kept, "prompt": state["prompts"][kept["prompt"]]}) for kept in state["kept"]]


@dataclass(eq=False)
class Kept:
    """A rollout as the buffer keeps it: tensors and JSON, whether or not the run was resumed since.

    step: when it was sampled. weight: its |A|. prompt: shared by all that answer it. rows: what is trained on, each
    with its turns, mask, advantage and the log-probabilities it was sampled with.
    """

    step: int
    weight: float
    prompt: State
    turns: list[State]
    end: Any
    rows: list[State]
    reward: float
    reward_K: Tensor


def kept_of(batch: Batch, r: int, prompt: State, weight: float, step: int) -> Kept:
    """One rollout of a batch, taken out of it."""
    rollout = batch.rollouts[r]
    rows = []
    for n, row in enumerate(batch.rows):
        if row.rollout == r:
            length = sum(len(rollout.turns[t]) for t in row.turns)
            tensors = {"mask_T": batch.mask_NT, "advantage_T": batch["advantage_NT"], "logp_T": batch["logp_old_NT"]}
            cut = {name: tensor[n, :length].cpu().clone() for name, tensor in tensors.items()}
            rows.append({"start": row.turns.start, "stop": row.turns.stop, "part": row.part, **cut})
    return Kept(
        step,
        weight,
        prompt,
        [pack_turn(turn) for turn in rollout.turns],
        rollout.end,
        rows,
        float(batch["reward_R"][r]),
        batch["reward_RK"][r].clone(),
    )


def rebuilt(drawn: list[Kept], reward_names: tuple[str, ...]) -> Batch:
    """Kept rollouts as a batch with advantages and old log-probabilities; those of one prompt are one group."""
    number: dict[int, int] = {}
    for kept in drawn:
        number.setdefault(id(kept.prompt), len(number))
    states = {id(kept.prompt): kept.prompt for kept in drawn}
    prompts = [unpack_prompt(states[key]) for key in number]
    prompt_R = [number[id(kept.prompt)] for kept in drawn]
    rollouts = [
        Rollout(prompts[p], turns, kept.end, turns[-1].text if turns else None)
        for kept, p in zip(drawn, prompt_R)
        for turns in [[unpack_turn(turn) for turn in kept.turns]]
    ]
    rows = [(r, row) for r, kept in enumerate(drawn) for row in kept.rows]
    batch = Batch.of(
        prompts, rollouts, prompt_R, rows=[Row(r, range(row["start"], row["stop"]), row["part"]) for r, row in rows]
    )
    batch.mask_NT = pad([row["mask_T"] for _, row in rows]).bool()
    batch.reward_names = reward_names
    return batch.with_(
        advantage_NT=pad([row["advantage_T"] for _, row in rows]),
        logp_old_NT=pad([row["logp_T"] for _, row in rows]),
        reward_R=torch.tensor([kept.reward for kept in drawn]),
        reward_RK=torch.stack([kept.reward_K for kept in drawn]),
    )


def strength(batch: Batch) -> Tensor:
    """Each rollout's mean |advantage| over its trained actions, `[R]`."""
    total_R = batch.rows_to_rollouts((batch["advantage_NT"].abs() * batch.mask_NT).sum(1))
    return total_R / batch.rows_to_rollouts(batch.mask_NT.sum(1)).clamp(min=1)
