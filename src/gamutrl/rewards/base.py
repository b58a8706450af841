"""What a reward is, how text-level functions become one, and how users' functions do."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gamutrl.core import Batch, Context, ResponderError
from gamutrl.rewards.guard import at_row

Score = Callable[[Batch, Context], Tensor]
"""`(batch, context) -> reward_R`: float, one value a rollout, NaN where the reward does not apply."""


class MissingColumns(ValueError):
    """A reward reads columns that the rows do not have; the message says which."""


@dataclass(frozen=True)
class Reward:
    """A named score of rollouts.

    name: its column in the reward table and in `metrics.jsonl` (`reward/<name>`). score: `(batch, context) ->
    reward_R`. weight: its weight in the default combine (0: measured, not rewarded). scope: what its value depends on;
    a "pool" is never split over batches or processes. differentiable: whether a gradient flows through it to the
    output.
    """

    name: str
    score: Score
    weight: float = 1.0
    scope: Literal["rollout", "group", "pool"] = "rollout"
    differentiable: bool = False


@dataclass(frozen=True)
class PerRollout:
    """Lifts a text-level function to a score: `function(text, *columns, **options) -> float | None`.

    The function takes the rollout's text first; each further positional parameter is filled from the column of its name
    (`answer`, or any other of the row's; `frame` and `answer_frame` are the sizes of the first picture as the model saw
    it and as the row gives it, unless the row has columns of that name). Keyword-only parameters are options: a column
    never fills them. `arguments` are given as they are. `None` means "does not apply". A rollout whose responder fails
    for good ends in "error".
    """

    function: Callable[..., float | None]
    arguments: tuple[tuple[str, Any], ...] = ()
    raw: bool = False

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        fixed = dict(self.arguments)
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in fixed]
        columns = {**media_frames(batch), **batch.columns_R()}
        needed = {p.name for p in parameters if p.default is p.empty and p.name in names}
        if batch.rollouts and (missing := sorted(needed - columns.keys())):
            there = ", ".join(name for name in columns if name not in ("frame", "answer_frame"))
            raise MissingColumns(f"needs {', '.join(map(repr, missing))}; the rows have: {there}")
        values = []
        for r, rollout in enumerate(batch.rollouts):
            at_row(rollout.prompt.id or str(r))
            from_row = {name: columns[name][r] for name in names if name in columns}
            try:
                value = self.function(rollout.raw_text if self.raw else rollout.text, **from_row, **fixed)
            except ResponderError as error:
                rollout.end, rollout.info["error"], value = "error", str(error), None
            values.append(math.nan if value is None else float(value))
        return torch.tensor(values)


def per_rollout(function: Callable[..., float | None], *, raw: bool = False, **arguments: Any) -> PerRollout:
    """`Reward("format", per_rollout(tag_format, tags=("think", "answer")))`."""
    return PerRollout(function, tuple(arguments.items()), raw)


def media_frames(batch: Batch) -> dict[str, list[Any]]:
    """`frame` and `answer_frame` of each rollout: the first picture's `(width, height)` as the model saw it, and as
    given.

    None where the policy recorded none. Boxes that a model writes are measured in the first, a row's own in the second.
    """
    sizes = batch.info.get("media_size") or [()] * len(batch.prompts)
    first = [sizes[p][0] if sizes[p] else None for p in batch.prompt_R.tolist()]
    return {
        "frame": [size and size.model for size in first],
        "answer_frame": [size and size.original for size in first],
    }
