"""Runs one untrusted program, inside a process that may do nothing but compute and print.

Started by `tools.python` as a script of its own, with an isolated interpreter; it imports nothing of gamutrl. It reads
one JSON object from standard input, loads the modules that the program may use, and then, before the first line of the
program, gives up everything else: a list of permitted system calls (seccomp) is installed that holds no way to open a
file, to start a process or a thread, to send a signal, or to reach a network. What cannot be installed ends the process
with UNSAFE, and the program is not run. What can is told by READY, the first that comes out: no program can take it
back, or end as if there were no walls.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import linecache
import os
import platform
import resource
import struct
import sys
import traceback

UNSAFE = 97
"""The exit status of a jail whose walls could not be built."""
READY = b"\x06"
"""What is written before the program's own output, once the walls stand."""
NAME = "<program>"

_MACHINES = {
    # (audit architecture, permitted system calls): read write close fstat lseek mmap mprotect munmap brk rt_sigaction
    # rt_sigprocmask rt_sigreturn writev sched_yield mremap madvise nanosleep getpid exit uname gettimeofday getrusage
    # sysinfo times sigaltstack gettid futex sched_getaffinity restart_syscall clock_gettime clock_getres
    # clock_nanosleep exit_group set_robust_list getrandom rseq
    "x86_64": (
        0xC000003E,
        "0 1 3 5 8 9 10 11 12 13 14 15 20 24 25 28 35 39 60 63 96 98 99 100 131 186 202 204 219 228 229 230 231 273 "
        "318 334",
    ),
    "aarch64": (
        0xC00000B7,
        "63 64 57 80 62 222 226 215 214 134 135 139 66 124 216 233 101 172 93 160 169 165 179 153 132 178 98 123 128 "
        "113 114 115 94 99 278 293",
    ),
}


def limit(memory: int, seconds: int) -> None:
    """Bound memory (bytes) and processor time (seconds); no files grow, no core is written, no process is started."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        resource.setrlimit(what, (most, most))


def drop_privileges() -> None:
    """Become nobody where the process is root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def lock() -> None:
    """Permit computing and printing, nothing else, for good. Raises OSError where the kernel can't."""
    architecture, permitted = _MACHINES[platform.machine()]
    allow, refuse, kill = 0x7FFF0000, 0x00050001, 0x80000000  # refused calls fail with "operation not permitted"

    def line(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    load, equal, give = 0x20, 0x15, 0x06
    program = [line(load, 0, 0, 4), line(equal, 1, 0, architecture), line(give, 0, 0, kill), line(load, 0, 0, 0)]
    for number in map(int, permitted.split()):
        program += [line(equal, 0, 1, number), line(give, 0, 0, allow)]
    program.append(line(give, 0, 0, refuse))
    code = ctypes.create_string_buffer(b"".join(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    for arguments in ((no_new_privileges, 1, 0, 0, 0), (set_seccomp, filter_mode, header, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


def main() -> None:
    task = json.loads(sys.stdin.buffer.read())
    sys.stdin.close()
    sys.path += task["paths"]
    for module in task["modules"]:
        importlib.import_module(module)
    text = task["code"]
    linecache.cache[NAME] = (len(text), None, text.splitlines(keepends=True), NAME)
    scope = {"__name__": "__main__", **task["values"]}
    try:
        drop_privileges()
        limit(task["memory"], task["seconds"])
        lock()
        os.write(1, READY)
    except (OSError, KeyError, ValueError, AttributeError):
        os._exit(UNSAFE)
    try:
        exec(compile(text, NAME, "exec"), scope)
        status = 0
    except SystemExit:
        status = 0
    except BaseException as error:
        # The frames of this file are not the program's.
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        try:
            print("".join(traceback.format_exception(type(error), error, trace, limit=-4)), end="")
        except BaseException:
            print(type(error).__name__)
        status = 1
    try:
        sys.stdout.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
