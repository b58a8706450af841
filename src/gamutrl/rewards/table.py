"""The reward table: every reward of a batch, in order, checked; and how a row of it becomes one number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gamutrl.core import Batch, Context
from gamutrl.rewards.base import MissingColumns, Reward
from gamutrl.rewards.guard import RewardTimeout, marked, within


class RewardError(RuntimeError):
    """A reward that raised, hung, or returned what is no reward; the message names it and the row."""


def score(rewards: Sequence[Reward], batch: Batch, context: Context, *, timeout: float | None = None) -> Batch:
    """The batch with `reward_RK`, `weight_RK` and `reward_names`, one column a reward, scored in order.

    A later reward may read an earlier one (`context.reward(batch, name)`). NaN means "does not apply"; a rollout whose
    responder failed for good has ended in "error" and is NaN throughout. timeout: seconds for each reward's call.
    Raises RewardError on a reward that raises, runs too long, or returns infinity or the wrong shape.
    """
    names = [reward.name for reward in rewards]
    if len(set(names)) < len(names):
        raise ValueError(f"Two rewards have one name; name each differently: {', '.join(names)}.")
    count = len(batch.rollouts)
    batch = _with_table(batch, (), torch.zeros(count, 0))
    for reward in rewards:
        value_R = _checked(reward, _called(reward, batch, context, timeout), batch)
        batch = _with_table(
            batch, (*batch.reward_names, reward.name), torch.cat([batch["reward_RK"], value_R[:, None]], 1)
        )
    failed_R = torch.tensor([rollout.end == "error" for rollout in batch.rollouts], dtype=torch.bool)
    weight_RK = torch.tensor([reward.weight for reward in rewards]).expand(count, -1)
    return batch.with_(reward_RK=batch["reward_RK"].masked_fill(failed_R[:, None], math.nan), weight_RK=weight_RK)


def weighted_sum(batch: Batch, context: Context) -> Tensor:
    """The default combine: the sum of weight · reward over the rewards that apply, `[R]`; NaN where none does.

    The weights are the rewards' own (`weight_RK`, attached by `score`); a hook may replace them row by row.
    """
    reward_RK, weight_RK = batch["reward_RK"], batch["weight_RK"]
    applies_RK = ~reward_RK.isnan()
    total_R = (torch.where(applies_RK, reward_RK, 0.0) * weight_RK).sum(1)
    return torch.where(applies_RK.any(1), total_R, math.nan)


def _with_table(batch: Batch, names: tuple[str, ...], reward_RK: Tensor) -> Batch:
    batch = batch.with_(reward_RK=reward_RK)
    batch.reward_names = names
    return batch


def _called(reward: Reward, batch: Batch, context: Context, timeout: float | None) -> Tensor:
    marker, call = marked(lambda: reward.score(batch, context))
    try:
        return within(timeout, call)
    except RewardTimeout:
        row = _where(marker, reward, batch, context, timeout)
        limit = f"{timeout:g} s" if timeout is not None else "its time"
        message = f"The reward {reward.name!r} did not answer within {limit} (--reward-timeout), at {row}."
        raise RewardError(message) from None
    except RewardError:
        raise
    except MissingColumns as error:
        message = f"The reward {reward.name!r} reads columns that are not there: it {error}. Name them with --columns."
        raise RewardError(message) from None
    except (Exception, SystemExit) as error:  # A reward that calls `exit()` is broken, not done.
        row = _where(marker, reward, batch, context, timeout)
        said = f": {error}" if str(error) else ""
        message = f"The reward {reward.name!r} raised {type(error).__name__} at {row}{said}"
        raise RewardError(message) from error


def _where(marker: list[str], reward: Reward, batch: Batch, context: Context, timeout: float | None) -> str:
    """The row in hand when a reward failed; for one that takes all rollouts at once, the first that fails alone."""
    if marker:
        return f"row {marker[0]}"
    for r, rollout in enumerate(batch.rollouts):
        alone = batch.take_rollouts([r])
        try:
            within(timeout, lambda alone=alone: reward.score(alone, context))  # type: ignore[misc]
        except (Exception, SystemExit, RewardTimeout):
            return f"row {rollout.prompt.id or r}"
    ids = [prompt.id for prompt in batch.prompts]
    return f"rows {ids[0]} to {ids[-1]}" if len(ids) > 1 else f"row {''.join(ids)}"


def _checked(reward: Reward, value_R: Tensor, batch: Batch) -> Tensor:
    count = len(batch.rollouts)
    if not isinstance(value_R, Tensor) or tuple(value_R.shape) != (count,):
        got = f"shape {list(value_R.shape)}" if isinstance(value_R, Tensor) else type(value_R).__name__
        raise RewardError(f"The reward {reward.name!r} must return one number for each of {count} rollouts, not {got}.")
    value_R = value_R.float()
    if value_R.isinf().any():
        row = batch.rollouts[int(value_R.isinf().nonzero()[0])].prompt.id
        raise RewardError(f"The reward {reward.name!r} is infinite at row {row}; return a finite number, or None.")
    return value_R
