"""A CPU's cores, for models whose operations are too short to be cut among them.

Waking the other threads takes longer than a small matrix product. So a step of decoding runs on one core, and where
whole groups are scored, each thread works on prompts of its own: all cores are busy, in attention and bookkeeping too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

T = TypeVar("T")

_sizes: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()

SMALL = 2**27
"""Parameters, up to which a model's operations are too short to be cut among cores."""

SHORT = 2**24
"""Multiplications, up to which a matrix product is faster on one core."""

LONG = 2**20
"""Multiplications, from which on a matrix product is faster on all cores, if their threads are awake."""

ASLEEP = os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive"
"""Whether threads sleep until they are needed; by OpenMP's default they stand by for some milliseconds."""

MOST = 4
"""Threads that call operations one by one: with more, they would wait for Python rather than for the arithmetic."""


def share_of(sizes: Sequence[int], parts: int) -> list[list[int]]:
    """Numbers of things of these sizes in at most `parts` lots of nearly equal size, each in order; none is empty."""
    lots: list[list[int]] = [[] for _ in range(min(parts, len(sizes)))]
    load = [0] * len(lots)
    for number in sorted(range(len(sizes)), key=lambda n: (-sizes[n], n)):
        lightest = load.index(min(load))
        lots[lightest].append(number)
        load[lightest] += sizes[number]
    return sorted(sorted(lot) for lot in lots)


def threads_for(module: nn.Module) -> int:
    """How many lots of groups a model should work on at once; 1: what it does is cut among cores well enough."""
    first = next(module.parameters(), None)
    if first is None or first.device.type != "cpu" or _inside.active:
        return 1
    if module not in _sizes:
        _sizes[module] = sum(parameter.numel() for parameter in module.parameters())
    return min(MOST, _cores()) if _sizes[module] <= SMALL else 1


@contextmanager
def aside(module: nn.Module) -> Iterator[None]:
    """Inside, what is not dealt out runs on one core, where a model works on several lots at once: a thread that is
    woken for little takes the time from these."""
    own = torch.get_num_threads()
    if _inside.cores or threads_for(module) == 1:
        yield
        return
    _inside.cores = own
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _inside.cores = 0
        torch.set_num_threads(own)


@contextmanager
def whole() -> Iterator[None]:
    """Inside, operations run on all cores again, for what is not dealt out after all."""
    cores = _inside.cores
    if not cores:
        yield
        return
    torch.set_num_threads(cores)
    try:
        yield
    finally:
        torch.set_num_threads(1)


def _cores() -> int:
    """How many threads there are to share out."""
    return _inside.cores or torch.get_num_threads()


@contextmanager
def undivided(products: int, device: torch.device) -> Iterator[None]:
    """Inside, operations run on one core, if they are no longer than a product of so many multiplications."""
    own = torch.get_num_threads()
    if device.type != "cpu" or products > SHORT or own == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(own)


@contextmanager
def divided(products: int, threads: int) -> Iterator[None]:
    """Inside, a product of so many multiplications is cut among threads, where they stand by and it is worth it."""
    if ASLEEP or threads == 1 or products < LONG:
        yield
        return
    own = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(own)


def together(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """What the tasks return, in their order; each runs in a thread of its own, with the caller's gradient mode.

    The first error is raised, after all have ended.
    """
    pool, grad = _pool(len(tasks), max(1, _cores() // len(tasks))), torch.is_grad_enabled()

    def run(task: Callable[[], T]) -> T:
        with torch.set_grad_enabled(grad):
            return task()

    futures = [pool.submit(run, task) for task in tasks]
    wait(futures)
    return [future.result() for future in futures]


def dealt(tasks: Sequence[Callable[[], T]], sizes: Sequence[int], threads: int) -> list[T]:
    """What the tasks, of these sizes, return, in their order; dealt out to so many threads, without gradient."""
    lots = share_of(sizes, 1 if torch.is_grad_enabled() else threads)
    if len(lots) < 2:
        with whole():
            return _each(tasks)
    made = together([partial(_each, [tasks[k] for k in lot]) for lot in lots])
    found = {k: one for lot, some in zip(lots, made) for k, one in zip(lot, some)}
    return [found[k] for k in range(len(tasks))]


def _each(tasks: Sequence[Callable[[], T]]) -> list[T]:
    return [task() for task in tasks]


def differentiable(tasks: Sequence[Callable[[], Sequence[Tensor]]], parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """What the tasks return, differentiable in the parameters (and in nothing else), once.

    Their backward passes run side by side too; the parameters' gradients are added in the tasks' order.
    """
    if not torch.is_grad_enabled():
        return [list(found) for found in together(tasks)]
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    counts: list[int] = []
    flat = _Together.apply(tasks, counts, *trained)
    out, begin = [], 0
    for count in counts:
        out.append(list(flat[begin : begin + count]))
        begin += count
    return out


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tasks: Any, counts: list[int], *parameters: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            ctx.found = [list(found) for found in together(tasks)]
        ctx.parameters = parameters
        counts.extend(len(found) for found in ctx.found)
        return tuple(tensor.detach() for found in ctx.found for tensor in found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.found is None:
            raise RuntimeError("Groups that ran side by side can be differentiated once only.")
        found, ctx.found, begin = ctx.found, None, 0
        tasks = []
        for tensors in found:
            pairs = [(t, g) for t, g in zip(tensors, grads[begin : begin + len(tensors)]) if t.requires_grad]
            begin += len(tensors)
            if pairs:
                tasks.append(_gradient(ctx.parameters, *zip(*pairs)))
        sums: list[Tensor | None] = [None] * len(ctx.parameters)
        for parts in together(tasks) if tasks else []:
            for number, part in enumerate(parts):
                if part is not None:
                    before = sums[number]
                    sums[number] = part if before is None else before.add_(part)
        return None, None, *sums


def _gradient(
    parameters: Sequence[Tensor], tensors: Sequence[Tensor], grads: Sequence[Tensor]
) -> Callable[[], Sequence[Tensor | None]]:
    return lambda: torch.autograd.grad(tensors, parameters, grads, allow_unused=True)


class _Inside(threading.local):
    """active: whether this is a thread of a lot. cores: how many threads there are, while one is all that is used."""

    active = False
    cores = 0


_inside = _Inside()


@lru_cache(maxsize=8)
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """A pool whose threads all stand ready, each cutting its operations among so many threads more."""
    own = torch.get_num_threads()
    ready = threading.Barrier(workers + 1)

    def prepare() -> None:
        torch.get_num_threads()  # a thread's first question sets its number to the process's
        torch.set_num_threads(threads)
        _inside.active = True

    pool = ThreadPoolExecutor(workers, thread_name_prefix="gamut-group", initializer=prepare)
    for _ in range(workers):
        pool.submit(ready.wait)
    ready.wait()
    # The number that a thread sets is also what threads to come begin with.
    torch.set_num_threads(own)
    return pool
