"""Calls of code that may hang: stopped after a time, with the row that was being scored."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_row: ContextVar[list[str] | None] = ContextVar("row", default=None)


class RewardTimeout(BaseException):
    """Raised inside a reward that ran too long; no `except Exception` of its own swallows it."""


def at_row(row: str) -> None:
    """Say which row is being scored from here on, for the message if it fails or hangs."""
    marker = _row.get()
    if marker is not None:
        marker[:] = [row]


def marked(call: Callable[[], T]) -> tuple[list[str], Callable[[], T]]:
    """A place where `at_row` leaves its mark, and the call that writes there."""
    marker: list[str] = []
    surroundings = copy_context()
    surroundings.run(_row.set, marker)
    return marker, lambda: surroundings.run(call)


def within(seconds: float | None, call: Callable[[], T]) -> T:
    """The call's result, or RewardTimeout after so many seconds (None: no limit).

    In the main thread the call stays there (math-verify and other libraries need its signals) and is interrupted by
    one: that ends Python code, sleeping, reading and regular expressions, but not a loop inside an extension that never
    looks for signals. Elsewhere the call gets a daemon thread, which is left behind when it hangs.
    """
    if seconds is None:
        return call()
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        return _interrupted(seconds, call)
    return _abandoned(seconds, call)


def _interrupted(seconds: float, call: Callable[[], T]) -> T:
    deadline = time.monotonic() + seconds
    main = threading.get_ident()
    finished = threading.Event()

    def stop(signum: int, frame: FrameType | None) -> None:
        if time.monotonic() >= deadline and not finished.is_set():
            raise RewardTimeout

    def wake() -> None:
        while not finished.wait(max(0.05, deadline - time.monotonic())):
            signal.pthread_kill(main, signal.SIGPROF)

    # Two clocks, because neither sees everything: a waiting call burns no CPU time, so a thread sends the signal; a
    # regular expression holds the interpreter, so no thread would run, but the CPU timer comes from the kernel.
    # SIGALRM stays free for the libraries that use it themselves.
    previous = signal.signal(signal.SIGPROF, stop)
    watcher = threading.Thread(target=wake, daemon=True)
    try:
        signal.setitimer(signal.ITIMER_PROF, min(seconds, 0.25), 0.25)
        watcher.start()
        return call()
    finally:
        finished.set()
        signal.setitimer(signal.ITIMER_PROF, 0)
        watcher.join()
        signal.signal(signal.SIGPROF, previous)


def _abandoned(seconds: float, call: Callable[[], T]) -> T:
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=copy_context().run, args=(work,), daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise RewardTimeout
    return outcome[0]
