"""What a correction changed, token by token, and how much more those tokens weigh."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher


def changed_positions(before: Sequence[int], after: Sequence[int], *, shortest: int = 3) -> tuple[list[int], list[int]]:
    """The positions that were replaced, in each of two token sequences (RLHF-V, 2312.00849).

    Runs in common that are shorter than `shortest` do not count as common; what was only added or removed is no change.
    """
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    one: list[int] = []
    other: list[int] = []
    i = j = 0
    for block in blocks:
        if 0 < block.size < shortest:
            continue
        if block.a > i and block.b > j:
            one += range(i, block.a)
            other += range(j, block.b)
        i, j = block.a + block.size, block.b + block.size
    return one, other


def weights(length: int, changed: Sequence[int], gamma: float) -> list[float]:
    """A weight for each predicted token (all but the first): gamma where it was changed, else 1."""
    marked = set(changed)
    return [gamma if position in marked else 1.0 for position in range(1, length)]
