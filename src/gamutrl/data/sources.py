"""Sources made of sources: worlds, mixtures, repeats, curricula, changed prompts, work done ahead."""

from __future__ import annotations

import importlib
import pkgutil
import threading
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from gamutrl.core import Prompt, Source
from gamutrl.data.base import Rows
from gamutrl.data.media import even_indices
from gamutrl.data.orders import Shuffled
from gamutrl.data.problems import DataError
from gamutrl.data.worlds.base import World

_BLOCK = 64


@dataclass(frozen=True)
class WorldRows:
    """Generated rows of `gamutrl.data.worlds.<world>`.

    size 0: ever new rows, item after item, a stream of its own for each seed. size n: the same n rows always (held-out
    rows, few-shot training), shuffled anew each epoch when drawn in batches. `seed` sets which rows, beside the run's.
    """

    world: str
    task: str
    split: Literal["train", "test"] = "train"
    knobs: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    seed: int = 0

    @cached_property
    def module(self) -> World:
        """The world itself. Raises `DataError` listing the worlds, or its tasks, where the name is not known."""
        from gamutrl.data import worlds

        names = sorted(found.name for found in pkgutil.iter_modules(worlds.__path__))
        module: Any = importlib.import_module(f"gamutrl.data.worlds.{self.world}") if self.world in names else None
        if not hasattr(module, "TASKS"):
            offered = [
                name for name in names if hasattr(importlib.import_module(f"gamutrl.data.worlds.{name}"), "TASKS")
            ]
            raise DataError(f"There is no world {self.world!r}; there are: {', '.join(offered)}.")
        if self.task and self.task not in module.TASKS:
            raise DataError(f"The world {self.world!r} has no task {self.task!r}; it has: {', '.join(module.TASKS)}.")
        return module

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        if self.size:
            return Shuffled(self).batch(index, size, seed)
        return [self._item(item, seed) for item in range(index * size, (index + 1) * size)]

    def __len__(self) -> int:
        if not self.size:
            raise TypeError(f"The rows of {self.world!r} never end; give WorldRows a size.")
        return self.size

    def __getitem__(self, row: int) -> Prompt:
        return self._rows[row]

    def column(self, name: str) -> list[Any]:
        return [row.answer if name == "answer" else row.columns[name] for row in self._rows]

    @cached_property
    def _rows(self) -> list[Prompt]:
        return self.module.rows(self.split, len(self), self.seed, task=self.task, **self.knobs)

    @cached_property
    def _blocks(self) -> OrderedDict[tuple[int, int], list[Prompt]]:
        return OrderedDict()

    def _item(self, item: int, seed: int) -> Prompt:
        """Rows are made a block at a time, so that what a world balances over its rows stays balanced."""
        block = (seed, item // _BLOCK)
        if block not in self._blocks:
            own = _mixed(self.seed, *block)
            self._blocks[block] = self.module.rows(self.split, _BLOCK, own, task=self.task, **self.knobs)
            while len(self._blocks) > 4:
                self._blocks.popitem(last=False)
        return self._blocks[block][item % _BLOCK]


@dataclass(frozen=True)
class InMemory:
    """Prompts that are already there, shuffled anew each epoch."""

    prompts: Sequence[Prompt]

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, row: int) -> Prompt:
        return self.prompts[row]

    def column(self, name: str) -> list[Any]:
        return [row.answer if name == "answer" else row.columns.get(name) for row in self.prompts]

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        if not self.prompts:
            raise DataError("There are no prompts to draw from.")
        return Shuffled(self).batch(index, size, seed)


@dataclass(frozen=True)
class Texts:
    """Prompts that are texts and nothing else, shuffled anew each epoch."""

    texts: tuple[str, ...]

    @cached_property
    def _rows(self) -> InMemory:
        return InMemory([Prompt.ask(text, id=f"text/{n}") for n, text in enumerate(self.texts)])

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: int) -> Prompt:
        return self._rows[row]

    def column(self, name: str) -> list[Any]:
        return self._rows.column(name)

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        return self._rows.batch(index, size, seed)


@dataclass(frozen=True)
class Mixture:
    """Several sources, each served in proportion to its weight, exactly (never more than one item off).

    by "row": every batch is mixed, its items in an order of its own. by "batch": a batch is of one source (what pools
    need). Each source is served from its own beginning without gaps.
    """

    sources: tuple[Source, ...]
    weights: tuple[float, ...] = ()
    by: Literal["row", "batch"] = "row"

    def __post_init__(self) -> None:
        if not self.sources:
            raise DataError("A mixture needs at least one source.")
        if self.weights and len(self.weights) != len(self.sources):
            raise DataError(f"A mixture of {len(self.sources)} sources needs as many weights, not {len(self.weights)}.")
        if self.weights and (min(self.weights) < 0 or sum(self.weights) <= 0):
            raise DataError(f"A mixture's weights must not be negative, nor all zero: {self.weights}.")

    @cached_property
    def _turns(self) -> tuple[list[int], list[int], list[int]]:
        """For each turn so far: whose it is and the how-manieth of that source; and how many each has had."""
        return [], [], [0] * len(self.sources)

    @cached_property
    def _lock(self) -> threading.Lock:
        return threading.Lock()

    def turn(self, turn: int) -> tuple[int, int]:
        """Whose turn it is: the source that lags most behind its share."""
        owners, counts, had = self._turns
        weights = self.weights or (1.0,) * len(self.sources)
        total = sum(weights)
        with self._lock:
            while len(owners) <= turn:
                lag = [(len(owners) + 1) * weight / total - count for weight, count in zip(weights, had)]
                owner = max(range(len(lag)), key=lambda k: (weights[k] > 0, lag[k]))
                owners.append(owner)
                counts.append(had[owner])
                had[owner] += 1
        return owners[turn], counts[turn]

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        if self.by == "batch":
            owner, count = self.turn(index)
            return self.sources[owner].batch(count, size, _mixed(seed, owner))
        prompts = []
        for turn in range(index * size, (index + 1) * size):
            owner, count = self.turn(turn)
            prompts += self.sources[owner].batch(count, 1, _mixed(seed, owner))
        return [prompts[k] for k in np.random.default_rng([_mixed(seed, index)]).permutation(len(prompts))]


@dataclass(frozen=True)
class Repeat:
    """Every prompt `times` times in its batch (flow-grpo's sampler: one group over several copies)."""

    source: Source
    times: int

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        if size % self.times:
            raise DataError(f"A batch of {size} prompts cannot hold each {self.times} times; make it a multiple.")
        return [prompt for prompt in self.source.batch(index, size // self.times, seed) for _ in range(self.times)]


@dataclass(frozen=True)
class Stages:
    """A curriculum: pairs of a start and the source served from there on (jigsaw-r1, av-reasoner, vq-insight).

    Starts count steps, or items served (`by="items"`); each source begins at its own beginning. The first starts at 0.
    """

    stages: tuple[tuple[int, Source], ...]
    by: Literal["steps", "items"] = "steps"

    def __post_init__(self) -> None:
        starts = [start for start, _ in self.stages]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise DataError(f"A curriculum's starts must rise from 0, not {starts}.")

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        starts = [-(-start // size) if self.by == "items" else start for start, _ in self.stages]
        k = max(k for k, start in enumerate(starts) if start <= index)
        return self.stages[k][1].batch(index - starts[k], size, seed)


@dataclass(frozen=True)
class Changed:
    """Every prompt changed by `change(prompt, seed)`, with a seed of its own for each time it is served.

    Around rows it is rows, each with one seed for good (held-out rows stay as they are).
    """

    source: Source
    change: Callable[[Prompt, int], Prompt]

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        prompts = self.source.batch(index, size, seed)
        return [self.change(prompt, _mixed(seed, index * size + k)) for k, prompt in enumerate(prompts)]

    def __len__(self) -> int:
        return len(self._finite)

    def __getitem__(self, row: int) -> Prompt:
        return self.change(self._finite[row], _mixed(row))

    def column(self, name: str) -> list[Any]:
        return self._finite.column(name)

    @property
    def _finite(self) -> Rows:
        if not isinstance(self.source, Rows):
            raise TypeError(f"{type(self.source).__name__} is no finite set of rows.")
        return self.source


@dataclass(frozen=True)
class Ahead:
    """The same batches, the next `depth` of them made in a thread while this one is worked on."""

    source: Source
    depth: int = 2

    @cached_property
    def _worker(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix="gamut-data")

    @cached_property
    def _coming(self) -> dict[tuple[int, int, int], Future[list[Prompt]]]:
        return {}

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        wanted = [(index + k, size, seed) for k in range(self.depth + 1)]
        for key in [key for key in self._coming if key not in wanted]:
            self._coming.pop(key).cancel()
        for key in wanted:
            if key not in self._coming:
                self._coming[key] = self._worker.submit(self.source.batch, *key)
        return self._coming.pop(wanted[0]).result()


def take(source: Source, n: int, seed: int = 0) -> list[Prompt]:
    """Up to `n` rows to evaluate on, the same each time and none twice: evenly spread over finite rows.

    A mixture gives each of its sources' share; a source that never ends gives its first. n 0 means all there are.
    """
    if isinstance(source, Mixture):
        shares = Counter(source.turn(k)[0] for k in range(n))
        parts = [take(part, shares[k], seed) for k, part in enumerate(source.sources) if shares[k] or not n]
        return [prompt for part in parts for prompt in part]
    if isinstance(source, Changed):
        return [source.change(prompt, _mixed(k)) for k, prompt in enumerate(take(source.source, n, seed))]
    if isinstance(source, Rows) and _finite(source):
        return [source[k] for k in even_indices(len(source), n or len(source))]
    if not n:
        raise DataError("A source that never ends has no «all rows»; say how many.")
    return source.batch(0, n, seed)


def _finite(rows: Rows) -> bool:
    try:
        len(rows)
    except TypeError:
        return False
    return True


def _mixed(*seeds: int) -> int:
    """Seeds of one's own from several, 32 bits."""
    return zlib.crc32("/".join(map(str, seeds)).encode())


def asked_alike(rows: Source, like: Source) -> Source:
    """The rows, asked in the words that another source puts around its own (changes that say they `ask`).

    What else it does to its rows stays with them; of a mixture, the first source's words count.
    """
    if isinstance(like, Mixture):
        return asked_alike(rows, like.sources[0])
    if not isinstance(like, Changed):
        return rows
    inner = asked_alike(rows, like.source)
    return Changed(inner, like.change) if getattr(like.change, "asks", False) else inner
