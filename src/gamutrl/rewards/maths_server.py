"""Answers, line by line, whether two texts hold the same maths. A process of its own, run by `gamutrl.rewards.maths`.

Symbolic algebra on hostile input may run or grow without end, in code that no exception reaches. Here the kernel ends
it: a child serves; when its CPU timer kills it, the parent, which has everything imported, answers and forks another.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, StringExtractionConfig, parse, verify

MEMORY = 4 << 30


class TooLong(BaseException):
    """Not an Exception: math-verify catches those and would go on with the next candidate."""


def answer(request: dict[str, Any]) -> bool | list[str] | None:
    gold = _parsed(request["gold"], request["read_gold"])
    if "answer" not in request:
        return [str(found) for found in gold]
    if not gold:
        return None
    return bool(verify(gold, _parsed(request["answer"], request["read"]), timeout_seconds=None))


def _parsed(text: str, reading: dict[str, Any]) -> list[Any]:
    kinds = {
        "latex": LatexExtractionConfig(
            try_extract_without_anchor=reading["unanchored"], boxed_match_priority=reading["boxed_priority"]
        ),
        "expr": ExprExtractionConfig(try_extract_without_anchor=reading["unanchored"]),
        "string": StringExtractionConfig(strings=tuple(reading["letters"])),
    }
    return parse(
        text,
        extraction_config=[kinds[kind] for kind in reading["kinds"]],
        extraction_mode="first_match" if reading["first_match"] else "any_match",
        parsing_timeout=None,
    )


def serve() -> None:
    """Answer until the input ends. Two CPU timers: one that Python hears, and a later one that ends the process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGVTALRM, _too_long)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with open(0, "rb", buffering=0, closefd=False) as lines:
        while line := _read_line(lines.fileno()):
            request = json.loads(line)
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, request["seconds"])
                signal.setitimer(signal.ITIMER_PROF, 1.5 * request["seconds"])
                same = answer(request)
            except (Exception, TooLong):
                same = False if "answer" in request else []
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                signal.setitimer(signal.ITIMER_PROF, 0)
            _say(same)


def _too_long(signum: int, frame: Any) -> None:
    raise TooLong


def _read_line(descriptor: int) -> bytes:
    """One line, not a byte more: what follows belongs to the next child if this one dies."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return b""
        line += piece
    return line


def _say(value: bool | list[str] | None) -> None:
    os.write(1, json.dumps(value).encode() + b"\n")


def main() -> None:
    logging.disable(logging.CRITICAL)
    sys.setrecursionlimit(3000)
    verify(parse("$1$", parsing_timeout=None), parse("1", parsing_timeout=None), timeout_seconds=None)
    while True:
        child = os.fork()
        if child == 0:
            serve()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
        _say(False)


if __name__ == "__main__":
    main()
