"""Which of an ordered sequence of tokens a diffusion timestep belongs to (Selftok)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise


def staged_token(timestep: float, ends: Sequence[float], tokens: Sequence[int]) -> int:
    """The token active at a timestep: each stage, up to its end, shares its time evenly among its tokens.

    ends: where the stages end, ascending. tokens: how many tokens each has; the last one stays active at the end.
    Source: Selftok (arXiv 2505.07538).
    """
    before, start = 0, 0.0
    for end, count in zip(ends, tokens):
        if timestep < end:
            return max(0, before + int((timestep - start) * count / (end - start)))
        before, start = before + count, end
    return before - 1


def logit_normal_token(time: float, count: int, *, mean: float = 0.0, std: float = 1.0) -> int:
    """The token active at a time in (0, 1), where tokens are spread as a logit-normal distribution's quantiles."""
    logit = math.log(time / (1 - time))
    share = (1 + math.erf((logit - mean) / (std * math.sqrt(2)))) / 2
    return min(max(math.ceil(count * share), 0), count - 1)


def last_timesteps(timesteps: int, ends: Sequence[float], tokens: Sequence[int]) -> list[int]:
    """For each token the last of so many whole timesteps at which it is the active one."""
    active = [staged_token(t, ends, tokens) for t in range(timesteps)]
    return [t for t, (token, following) in enumerate(pairwise(active)) if following != token] + [timesteps - 1]
