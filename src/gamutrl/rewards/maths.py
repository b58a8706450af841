"""Mathematical equality, through math-verify, in bounded time."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

MAX_CHARACTERS = 10_000


@dataclass(frozen=True)
class Reading:
    """Where math-verify looks for an answer.

    kinds: what it may be, LaTeX, a plain expression or number, or one of `letters`. unanchored: anywhere, not only
    after words like "the answer is". boxed_priority: smaller looks at `\\boxed` sooner (0: first of all; -1: never).
    first_match: only the first candidate found is tried.
    """

    kinds: tuple[Literal["latex", "expr", "string"], ...] = ("latex", "expr")
    letters: tuple[str, ...] = ("A", "B", "C", "D")
    unanchored: bool = True
    boxed_priority: int = 50
    first_match: bool = False


def math_equal(
    answer: str,
    gold: str,
    *,
    read: Reading = Reading(),
    read_gold: Reading | None = None,
    seconds: float = 0.5,
) -> bool | None:
    """Whether two texts hold the same maths: `verify(parse(gold), parse(answer))`; None if the gold text holds none.

    Of a longer text only the last MAX_CHARACTERS count (math-verify itself looks from the end). What takes more than
    `seconds` of CPU time, or too much memory, is not equal. read_gold: None reads the gold text like the answer.
    """
    request = {
        "answer": answer[-MAX_CHARACTERS:],
        "gold": gold[-MAX_CHARACTERS:],
        "read": asdict(read),
        "read_gold": asdict(read_gold or read),
        "seconds": seconds,
    }
    return _server.ask(request)


def maths_in(text: str, *, read: Reading = Reading(), seconds: float = 0.5) -> list[str]:
    """What math-verify reads in a text, written out: the value, then the text it stood in. Empty if there is none."""
    return _server.ask({"gold": text[-MAX_CHARACTERS:], "read_gold": asdict(read), "seconds": seconds}) or []


def maths(given: str, truth: str) -> float:
    """1 if the two are the same maths, or, where the truth is none, the same text; else 0."""
    given, truth = given.strip(), str(truth).strip()
    return float(given == truth != "" or bool(math_equal(given, truth)))


class _Server:
    """The process that does the algebra: started when first asked, one for each process of ours."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def ask(self, request: dict[str, Any]) -> Any:
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            for _ in range(2):
                try:
                    reply = self._exchange(line)
                except BaseException:
                    self.stop()  # half an exchange would answer the next question with this one's reply
                    raise
                if reply:
                    return json.loads(reply)
                self.stop()
        raise RuntimeError("The process that compares maths ended twice; is math-verify installed whole?")

    def _exchange(self, line: bytes) -> bytes:
        if self._process is None or self._owner != os.getpid():
            program = [sys.executable, "-P", str(Path(__file__).with_name("maths_server.py"))]
            self._process = subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            self._owner = os.getpid()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            return b""
        return self._process.stdout.readline()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.communicate()


_server = _Server()
atexit.register(_server.stop)
