"""Choosing among a generator's paths by a verifier: when to judge, and which to keep (PARM, 2501.13926)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Look(NamedTuple):
    """What the verifier says of one intermediate picture: is it clear, has it potential, and P("no") of the latter."""

    clear: str
    potential: str
    no_probability: float


class PathVerdict(NamedTuple):
    """Whether a path is kept, how surely it is not, the step that decided (None: never clear), how many were seen."""

    kept: bool
    no_probability: float
    step: int | None
    seen: int


def path_verdict(looks: Iterable[Look], *, unreadable: float = 50.0) -> PathVerdict:
    """The verdict on a path: the potential of its first clear picture; a path that is never clear is dropped.

    unreadable: the score of a potential that is neither "yes" nor "no".
    """
    seen = 0
    for step, look in enumerate(looks):
        seen = step + 1
        if look.clear != "no":
            readable = look.potential in ("yes", "no")
            return PathVerdict(look.potential == "yes", look.no_probability if readable else unreadable, step, seen)
    return PathVerdict(False, 1.0, None, seen)


def chosen_path(kept: Sequence[bool], no_probability: Sequence[float], outcome: Sequence[float]) -> int:
    """The kept path of the best outcome, or, if none was kept, the one of least P("no"); the first of equal ones."""
    paths = [i for i, keep in enumerate(kept) if keep]
    if paths:
        return max(paths, key=lambda i: outcome[i])
    return min(range(len(kept)), key=lambda i: no_probability[i])
