"""Python programs that a model writes, run where they can do no harm.

Each program has an interpreter of its own (isolated, no environment, an empty folder), which builds its walls before
the program's first line (`tools.jail`): it can compute and print, and nothing else. Memory, processor time, wall clock
and output are bounded. No shell is involved anywhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gamutrl.environments.desk import Desk, Refusal, Shown
from gamutrl.environments.tools.jail import READY, UNSAFE

MODULES = (
    *("array", "bisect", "calendar", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum"),
    *("fractions", "functools", "heapq", "itertools", "json", "math", "numbers", "operator", "random", "re"),
    *("statistics", "string", "textwrap", "typing", "unicodedata", "encodings.ascii", "encodings.latin_1"),
)
"""What a program may import: loaded before the walls are built, since nothing can be opened after."""
MOST_CODE = 20_000


class NoSandbox(RuntimeError):
    """This machine cannot build the walls, so nothing is run."""


@dataclass(frozen=True)
class Ran:
    """What a program printed (errors too), and how it ended.

    end: "done"; "error" (it raised, or crashed); "time"; "output" (it printed too much).
    """

    output: str
    end: Literal["done", "error", "time", "output"]
    seconds: float


def run(
    code: str,
    values: Mapping[str, Any] | None = None,
    *,
    seconds: float = 5.0,
    memory: int = 512,
    most: int = 10_000,
    modules: tuple[str, ...] = MODULES,
    paths: tuple[str, ...] = (),
) -> Ran:
    """Run a program and give back what it printed.

    values: variables that it finds, as JSON holds them. seconds: of wall clock. memory: MiB. most: bytes of output; it
    is stopped when it prints more. modules: what it may import, found in the standard library and in `paths`.
    Raises NoSandbox where the walls cannot be built (they need Linux on x86-64 or ARM, with seccomp).
    """
    task = {
        "code": code,
        "values": dict(values or {}),
        "memory": memory << 20,
        "seconds": int(seconds) + 1,
        "modules": list(modules),
        "paths": list(paths),
    }
    sent = json.dumps(task).encode()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gamut-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(Path(__file__).with_name("jail.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin:  # type: ignore[union-attr]
                process.stdin.write(sent)  # type: ignore[union-attr]
            heard, end = _heard(process.stdout.fileno(), began + seconds, most + len(READY))  # type: ignore[union-attr]
        finally:
            process.kill()
            process.stdout.close()  # type: ignore[union-attr]
            status = process.wait()
    # The program runs once this is written: what it writes itself cannot come before.
    if end == "done" and status == UNSAFE and READY not in heard:
        raise NoSandbox(
            "This machine cannot isolate programs (Linux with seccomp is needed), so none is run. Leave the Python "
            "tool out of the environment."
        )
    output = heard.replace(READY, b"", 1)[:most].decode("utf-8", "replace")
    return Ran(output, "error" if end == "done" and status else end, time.monotonic() - began)


def _heard(pipe: int, until: float, most: int) -> tuple[bytes, Literal["done", "time", "output"]]:
    """What comes through a pipe until it closes, time is up, or it is too much."""
    heard = bytearray()
    while (left := until - time.monotonic()) > 0:
        if not select.select([pipe], [], [], left)[0]:
            break
        some = os.read(pipe, 65_536)
        if not some:
            return bytes(heard), "done"
        heard += some
        if len(heard) > most:
            return bytes(heard[:most]), "output"
    return bytes(heard), "time"


@dataclass(frozen=True)
class Python:
    """The tool: runs the program in `argument` and shows what it printed.

    columns: columns of the row (plain values) that the program finds as variables of their names.
    """

    argument: str = "code"
    columns: tuple[str, ...] = ()
    seconds: float = 5.0
    memory: int = 512
    most: int = 2000
    modules: tuple[str, ...] = field(default=MODULES)

    def __call__(self, desk: Desk, arguments: Mapping[str, Any]) -> Shown:
        code = arguments.get(self.argument)
        if not isinstance(code, str) or not code.strip():
            raise Refusal(f"{self.argument} must hold a Python program")
        if len(code) > MOST_CODE:
            raise Refusal(f"a program may have at most {MOST_CODE} characters")
        values = {name: desk.prompt.columns.get(name) for name in self.columns}
        ran = run(code, values, seconds=self.seconds, memory=self.memory, most=self.most, modules=self.modules)
        note = {
            "done": "" if ran.output else "(the program printed nothing)",
            "error": "" if ran.output else "(the program crashed)",
            "time": f"(stopped after {self.seconds:g} seconds)",
            "output": f"(stopped: it printed more than {self.most} bytes)",
        }[ran.end]
        return Shown(text=ran.output + note, info={"end": ran.end, "seconds": ran.seconds})
