"""A guard against work that grows faster than its input."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def bounded(what: object = "this", seconds: float = 30) -> Iterator[None]:
    """Fails if the body burns more CPU than that.

    Not a measure of speed (`benchmarks/` has those): linear work on the texts tried here is a second on a slow machine,
    quadratic work is many minutes.
    """
    start = time.process_time()
    yield
    spent = time.process_time() - start
    assert spent < seconds, f"{what} took {spent:.0f} s of CPU"
