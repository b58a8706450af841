"""One update of a stage: loss terms in pieces, one step of the optimizer; the same code for every stage that scores
rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, Prompt
from gamutrl.functional.weights import weighted_total
from gamutrl.policies.base import Policy
from gamutrl.training.defaults import ActionWeights
from gamutrl.training.optimizer import AdamW
from gamutrl.training.session import Session


class Piece(NamedTuple):
    """A part of an update's loss: its share of the sum, what it measured, its share of the rows, and whose it is."""

    loss: Tensor
    measured: dict[str, float]
    share: float
    whose: str


class Updating(Protocol):
    """What a stage says of its updates (`training.rl.RL` explains the fields)."""

    @property
    def steps(self) -> int: ...
    @property
    def updates_per_batch(self) -> int: ...
    @property
    def minibatches(self) -> int: ...
    @property
    def rows_per_forward(self) -> int: ...
    @property
    def weights(self) -> ActionWeights: ...
    @property
    def optimizer(self) -> AdamW: ...

    def loss(self, policy: Policy, batch: Batch, context: Context) -> tuple[Tensor, dict[str, float]]:
        """The loss terms `[N, T]` of some rows, and what they measured."""


def update(
    stage: Updating,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    context: Context,
    session: Session,
) -> dict[str, float]:
    """Every update that this batch is good for; returns what they measured, on average."""
    logs: list[dict[str, float]] = []
    total = stage.steps * stage.updates_per_batch * stage.minibatches
    for repeat in range(stage.updates_per_batch):
        used, generator = batch.of_update(repeat), context.generator(f"split{repeat}")
        for number, part in enumerate(split_groups(used, stage.minibatches, generator)):
            done = (context.step * stage.updates_per_batch + repeat) * stage.minibatches + number + 1
            pieces = _pieces(stage, policy, part, context)
            logs.append(descend(pieces, stage.optimizer, optimizer, done / total, context, session))
    return {key: sum(log[key] for log in logs) / len(logs) for key in logs[0]}


def descend(
    pieces: Iterable[Piece],
    settings: AdamW,
    optimizer: torch.optim.Optimizer,
    progress: float,
    context: Context,
    session: Session,
) -> dict[str, float]:
    """One step down the sum of the pieces' losses, each freed before the next is made; returns what they measured.

    Raises TrainingError, naming the step and the rows, where a loss or the gradient is not finite.
    """
    log: dict[str, float] = {}
    seen: list[str] = []
    for piece in pieces:
        loss = float(piece.loss.detach())
        if not math.isfinite(loss):
            optimizer.zero_grad(set_to_none=True)
            raise session.fail(f"The loss is {loss} at step {context.step}, {piece.whose}.")
        if piece.loss.requires_grad:
            piece.loss.backward()
        seen.append(piece.whose)
        log["loss"] = log.get("loss", 0.0) + loss
        for key, value in piece.measured.items():
            log[key] = log.get(key, 0.0) + value * piece.share
    norm = settings.step(optimizer, progress)
    if not math.isfinite(norm):
        raise session.fail(f"The gradient is {norm} at step {context.step}, {'; '.join(seen[:4])}.")
    return {**log, "grad_norm": norm}


def _pieces(stage: Updating, policy: Policy, part: Batch, context: Context) -> Iterator[Piece]:
    weight_NT = stage.weights(part)
    actions = max(1, int(part.mask_NT.sum()))
    for rows in forward_parts(part, stage.rows_per_forward):
        whole = part.take_rows(rows)
        owners = [whole.prompts[p] for p in whole.prompt_N.tolist()]
        pieces = list(policy.parts(whole)) if hasattr(policy, "parts") else [whole]
        for piece in pieces:
            terms_NT, measured = stage.loss(policy, piece, context)
            weight = weight_NT[rows] if len(pieces) == 1 else weight_NT[rows] * piece.mask_NT
            loss = weighted_total(terms_NT, weight.to(terms_NT.device))
            share = len(rows) / len(part.rows) if len(pieces) == 1 else int(piece.mask_NT.sum()) / actions
            yield Piece(loss, measured, share, whose(owners))


def split_groups(batch: Batch, parts: int, generator: torch.Generator) -> Iterator[Batch]:
    """The rows in `parts` minibatches of whole groups, in random order; in one, as they are."""
    if parts == 1:
        yield batch
        return
    groups = batch.group_N.unique()
    groups = groups[torch.randperm(len(groups), generator=generator)]
    for chosen in groups.tensor_split(parts):
        if rows := torch.isin(batch.group_N, chosen).nonzero().flatten().tolist():
            yield batch.take_rows(rows)


def forward_parts(batch: Batch, limit: int) -> Iterator[list[int]]:
    """Row numbers for each forward pass: whole groups, at most `limit` rows (one group at least; 0: all at once)."""
    by_group: dict[int, list[int]] = {}
    for n, group in enumerate(batch.group_N.tolist()):
        by_group.setdefault(group, []).append(n)
    part: list[int] = []
    for rows in by_group.values():
        if part and limit and len(part) + len(rows) > limit:
            yield part
            part = []
        part = part + rows
    if part:
        yield part


def whose(prompts: Sequence[Prompt]) -> str:
    """Rows by their ids, for a message: "rows a, b and 3 more"."""
    ids = list(dict.fromkeys(prompt.id or f"prompt {p}" for p, prompt in enumerate(prompts)))
    more = f" and {len(ids) - 8} more" if len(ids) > 8 else ""
    return f"rows {', '.join(ids[:8])}{more}"
