"""Graphs of sampling: what the first update goes back through instead of computing the trained steps again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from gamutrl.policies.flow.state import Denoised

MOST, SHARE = 2**31, 8
"""On a CPU graphs take at most so many bytes, and its memory divided by this, unless sampling says otherwise."""


def affordable(device: torch.device) -> int:
    """Bytes that graphs take at most where nothing else is said; none on an accelerator, which is full as it is.

    They don't depend on what is free now, so that a run repeats.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(MOST, memory // SHARE) if device.type == "cpu" else 0


class Room(NamedTuple):
    """Rows that still may keep a graph, and how many bytes each of them takes."""

    rows: int
    row_bytes: int


class Graphs:
    """Predictions of sampled steps with their graphs, by pass: each is good for one backward pass.

    A pass serves only when all of its steps are asked for at once, and while the weights are those that sampled.
    It goes when it was used, when another moment is met, or with the steps.
    """

    def __init__(self) -> None:
        self._pass_of: WeakKeyDictionary[Denoised, tuple[_Pass, int]] = WeakKeyDictionary()

    def __len__(self) -> int:
        """How many passes are kept."""
        return len({made for made, _ in self._pass_of.values()})

    @property
    def bytes(self) -> int:
        """What they take now."""
        return sum(made.bytes for made in {made for made, _ in self._pass_of.values()})

    def room(self, most: int, row_bytes: int, moment: tuple[int, ...] | None) -> Room:
        """What is left of so many bytes, once all of other moments is dropped."""
        self._leave(moment)
        return Room(max(0, most - self.bytes) // max(1, row_bytes), row_bytes)

    def keep(self, steps: Sequence[Denoised], predicted_M: Tensor, row_bytes: int) -> None:
        """The predictions of one pass, of these steps, whose graph takes so many bytes a row."""
        made = _Pass(predicted_M, len(steps), len(steps) * row_bytes)
        for m, step in enumerate(steps):
            self._pass_of[step] = made, m

    def take(self, steps: Sequence[Denoised], moment: tuple[int, ...] | None) -> Iterator[tuple[list[int], Tensor]]:
        """The passes that these steps are all of: their numbers in it and their predictions, which are its own now.

        What else was kept of these steps, or at another moment, is dropped.
        """
        self._leave(moment)
        asked: dict[_Pass, dict[int, int]] = {}
        for number, step in enumerate(steps):
            if step in self._pass_of:
                made, m = self._pass_of.pop(step)
                asked.setdefault(made, {})[m] = number
        for made, numbers in asked.items():
            predicted_M, made.predicted_M, made.bytes = made.predicted_M, None, 0
            if predicted_M is not None and len(numbers) == made.rows:
                yield [numbers[m] for m in range(made.rows)], predicted_M

    def _leave(self, moment: tuple[int, ...] | None) -> None:
        for step in [step for step in self._pass_of if step.moment != moment]:
            del self._pass_of[step]


class _Pass:
    def __init__(self, predicted_M: Tensor, rows: int, size: int) -> None:
        self.predicted_M: Tensor | None = predicted_M
        self.rows, self.bytes = rows, size


class Weighed:
    """Inside, what the graphs of a module's passes hold is weighed, in `bytes`, without the module's own tensors."""

    def __init__(self, module: nn.Module) -> None:
        self.own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
        self.held: dict[int, int] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._weigh, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        return sum(size for place, size in self.held.items() if place not in self.own)

    def __enter__(self) -> Weighed:
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    def _weigh(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.held[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # With its graph it would hold itself, for good.
