"""What a policy does, right or wrong: which answers it gives, how varied, how long, whether it uses its tools."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from gamutrl.core import Rollout


def distribution(values: Sequence[Hashable], most: int | None = None) -> dict[Hashable, float]:
    """The share of each value, most frequent first; with `most`, the rest is left out."""
    return {value: count / len(values) for value, count in Counter(values).most_common(most)}


def entropy(values: Sequence[Hashable]) -> float:
    """The entropy of a list of values, in nats: 0 when all are one, which is how a collapse shows."""
    return -sum(share * math.log(share) for share in distribution(values).values())


def distinct_share(values: Sequence[Hashable]) -> float:
    """How many different values there are, as a share of their number; NaN without any."""
    return len(set(values)) / len(values) if values else math.nan


def tool_rate(rollouts: Sequence[Rollout], name: str | None = None) -> float:
    """The share of rollouts that called a tool (this one, if named) without error; NaN without rollouts."""
    used = [any(c.error is None and name in (None, c.name) for c in rollout.calls) for rollout in rollouts]
    return sum(used) / len(used) if used else math.nan


def end_rates(rollouts: Sequence[Rollout]) -> dict[Hashable, float]:
    """The share of each way of ending: answer, eos, length, budget, error."""
    return distribution([rollout.end for rollout in rollouts])


def stop_rates(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """The share of each reason to stop: the budget that was spent (turns, calls, pictures, seconds, tokens), what an
    environment ended it for ("goal", "failed", …), else how it ended."""
    counts = Counter(map(stop_of, rollouts))
    return {reason: count / len(rollouts) for reason, count in counts.most_common()}


def of_episodes(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """What a step of training logs of rollouts in an environment: turns and calls a rollout, the share of calls that
    were refused (where there was one), and the share of each reason to stop that occurred, as `stop/<reason>`."""
    calls = [call for rollout in rollouts for call in rollout.calls]
    found = {
        "turns/mean": sum(len(rollout.turns) for rollout in rollouts) / max(1, len(rollouts)),
        "calls/mean": len(calls) / max(1, len(rollouts)),
    }
    if calls:
        found["calls/refused"] = sum(call.error is not None for call in calls) / len(calls)
    return found | {f"stop/{reason}": share for reason, share in sorted(stop_rates(rollouts).items())}


def stop_of(rollout: Rollout) -> str:
    """Why a rollout ended: the environment's own word where it has one, else how the rollout says that it ended."""
    last = rollout.turns[-1].info if rollout.turns else {}
    return str(rollout.info.get("stop") or last.get("stop") or rollout.end)


def mean_where(rollouts: Sequence[Rollout], value: Callable[[Rollout], float], where: Sequence[bool]) -> float:
    """The mean of a value over some of the rollouts (length of right answers, say); NaN without any."""
    if len(rollouts) != len(where):
        raise ValueError(f"There must be a yes or no for each rollout: {len(rollouts)} rollouts, {len(where)} values.")
    chosen = [value(rollout) for rollout, yes in zip(rollouts, where) if yes]
    return float(np.mean(chosen)) if chosen else math.nan
