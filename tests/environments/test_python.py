"""The Python tool computes and prints; whatever else a program tries comes to nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gamutrl.core import Prompt
from gamutrl.environments.desk import Desk, Refusal
from gamutrl.environments.tools import python


@pytest.fixture(scope="module", autouse=True)
def _walls():
    try:
        python.run("pass", seconds=60)
    except python.NoSandbox:
        pytest.skip("no sandbox on this machine")


def ran(code: str, **options: object) -> python.Ran:
    return python.run(code, **{"seconds": 60.0, **options})


def test_a_program_computes_and_prints():
    done = ran("import math, statistics\nprint(math.comb(5, 2), statistics.mean(xs))", values={"xs": [1, 2, 6]})
    assert (done.output, done.end) == ("10 3\n", "done")


def test_an_error_is_shown_with_its_line_and_without_ours():
    failed = ran("x = 1\nprint(x)\nx / 0")
    assert failed.end == "error"
    assert failed.output.startswith("1\n")
    assert 'File "<program>", line 3' in failed.output
    assert failed.output.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "jail" not in failed.output
    assert ran("1 +").output.rstrip().endswith("SyntaxError: invalid syntax")


def test_an_endless_loop_is_stopped():
    assert ran("while True: pass", seconds=3).end == "time"


def test_ignoring_signals_does_not_help():
    code = "import signal\n" + "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    assert ran(code, seconds=3, modules=(*python.MODULES, "signal")).end == "time"


def test_endless_output_is_stopped_and_cut():
    much = ran("while True: print('a' * 1000)", most=5000)
    assert (much.end, len(much.output)) == ("output", 5000)


@pytest.mark.parametrize("code", ["x = 'a' * (4 << 30)", "x = []\nwhile True: x.append(bytes(1 << 20))"])
def test_memory_is_bounded(code):
    failed = ran(code, memory=256)
    assert failed.end == "error"
    assert "MemoryError" in failed.output or failed.output == ""


REACHING_OUT = {
    "a file": "open('/etc/passwd').read()",
    "its own folder": "open('x', 'w')",
    "a file, by descriptor": "import posix; posix.open('/etc/hostname', 0)",
    "the file system's names": "import posix; posix.listdir('/')",
    "removing": "import posix; posix.unlink('TARGET')",
    "a folder": "import posix; posix.mkdir('/tmp/gamut-escaped')",
    "another's memory": "open('/proc/PARENT/environ').read()",
    "a shell": "import posix; posix.system('touch TARGET')",
    "a process": "import posix; posix.fork()",
    "another program": "import posix; posix.execv('/bin/sh', ['sh', '-c', 'touch TARGET'])",
    "a thread": "import _thread; _thread.start_new_thread(print, ())",
    "a signal": "import posix; posix.kill(PARENT, 9)",
    "a pipe": "import posix; posix.pipe()",
    "more rights": "import posix; posix.setuid(0)",
    "a socket": "import _socket; _socket.socket()",
    "a library's call": "import ctypes; c = ctypes.CDLL(None, use_errno=True); c.socket(2, 1, 0) < 0 and 1 / 0",
    "a module": "import subprocess",
    "a memory file": "import posix; posix.memfd_create('x')",
}


@pytest.mark.parametrize("what", REACHING_OUT)
def test_nothing_can_be_reached(what, tmp_path):
    target = tmp_path / "target"
    target.write_text("kept")
    tmp_path.chmod(0o777)
    target.chmod(0o666)
    code = REACHING_OUT[what].replace("PARENT", str(os.getpid())).replace("TARGET", str(target))
    # The modules that would help are given, so that only the walls stand in the way.
    failed = ran(code, modules=(*python.MODULES, "posix", "_thread", "_socket", "ctypes"))
    if what == "a shell":
        assert target.stat().st_mtime == pytest.approx(target.stat().st_ctime, abs=1)
    else:
        assert failed.end == "error", failed.output
        assert "Error" in failed.output or "can't start new thread" in failed.output
    assert target.read_text() == "kept"
    assert not Path("/tmp/gamut-escaped").exists()


def test_a_fork_bomb_starts_nothing():
    code = (
        "import posix\nn = 0\nfor _ in range(1000):\n    try: posix.fork(); n += 1\n    except OSError: pass\nprint(n)"
    )
    assert ran(code, modules=(*python.MODULES, "posix")).output == "0\n"


def test_nothing_of_the_environment_is_seen(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    seen = ran("import os\nprint(sorted(os.environ))", modules=(*python.MODULES, "os"))
    assert seen.output == "['LC_CTYPE', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS']\n"


def test_a_server_on_this_machine_is_not_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)"
        assert ran(code, modules=(*python.MODULES, "socket")).end == "error"


@pytest.mark.parametrize("code", ["import sys; sys.modules['posix']._exit(97)", "import sys; sys.exit(97)"])
def test_a_program_cannot_end_as_if_there_were_no_walls(code):
    """Else it would end the training with it."""
    failed = ran("print(1, flush=True)\n" + code)
    assert failed.output == "1\n"
    assert failed.end in ("error", "done")


def test_where_no_walls_can_be_built_nothing_is_run(monkeypatch, tmp_path):
    target = tmp_path / "ran"
    jail = tmp_path / "jail.py"
    jail.write_text(Path(python.__file__).with_name("jail.py").read_text().replace('"x86_64"', '"no"'))
    jail.write_text(jail.read_text().replace('"aarch64"', '"none"'))
    monkeypatch.setattr(python, "__file__", str(tmp_path / "python.py"))
    with pytest.raises(python.NoSandbox, match="none is run"):
        ran(f"open({str(target)!r}, 'w')")
    assert not target.exists()


def test_folders_are_taken_away_again():
    before = set(Path("/tmp").glob("gamut-*"))
    ran("print(1)")
    assert set(Path("/tmp").glob("gamut-*")) <= before


class TestTool:
    desk = Desk(Prompt.ask("?", table={"a": 2}), 0)

    def test_columns_are_variables_and_what_is_printed_is_shown(self):
        shown = python.Python(columns=("table",), seconds=60)(self.desk, {"code": "print(table['a'] + 1)"})
        assert shown.text == "3\n"

    def test_the_end_is_told(self):
        tool = python.Python(seconds=60)
        assert tool(self.desk, {"code": "x = 1"}).text == "(the program printed nothing)"
        assert "stopped: it printed more than" in tool(self.desk, {"code": "print('a' * 9999)"}).text

    @pytest.mark.parametrize("code", [None, 3, "", " ", "x" * 30_000])
    def test_what_is_no_program_is_refused(self, code):
        with pytest.raises(Refusal):
            python.Python()(self.desk, {"code": code})
