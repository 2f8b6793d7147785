"""Starts one process and lets its end be waited for.

In: a `Program`. Out: a `Process`, or OSError in the system's words. Invariants: by vfork and exec only (no Python runs in a
copy of this process, which may hold an engine's threads); each process leads a group of its own, so that its children end
with it and a terminal's Ctrl-C reaches only whoever started all of them; nothing but stdin, stdout and stderr is inherited.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

import msgspec

INHERITED = "-"
"""In place of an output file: the program writes where we do."""


class Program(msgspec.Struct, frozen=True):
    """What to run: program and arguments, the whole environment, where, and the file its output is appended to (none: it is
    thrown away; `INHERITED`: ours)."""

    command: tuple[str, ...]
    environment: dict[str, str]
    directory: str = ""
    output: str = ""


class Process:
    """A running process, leader of its group."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid

    def wait(self) -> int:
        """Block until it has ended, end what is left of its group, and return its status, negative for a signal."""
        with contextlib.suppress(ChildProcessError):
            # Not collected yet: until then no other group can have its number.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            self.kill_group()
        return self._popen.wait()

    def poll(self) -> int | None:
        """Its status if it has ended, after ending what is left of its group; None while it runs. Does not block."""
        try:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                return None
            self.kill_group()
        except ChildProcessError:
            pass  # collected by others; what they found is kept
        return self._popen.wait()

    def terminate(self) -> None:
        """Ask the process to end."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(signal.SIGTERM)

    def kill_group(self) -> None:
        """End all processes of its group. Nothing happens if none is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def spawn(program: Program, pass_stdin: IO[bytes] | int = subprocess.DEVNULL) -> Process:
    """Start a program. Raises OSError if it cannot be started."""
    output: int | IO[bytes] | None = subprocess.DEVNULL
    with contextlib.ExitStack() as stack:
        if program.output == INHERITED:
            output = None
        elif program.output:
            output = stack.enter_context(open(program.output, "ab"))
        popen = subprocess.Popen(
            program.command,
            stdin=pass_stdin,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            cwd=program.directory or None,
            env=program.environment,
            process_group=0,
        )
    return Process(popen)


def find_program(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Return why a command could not be started, or None if its program is there."""
    name = command[0]
    if os.sep in name:
        return None if os.access(name, os.X_OK) else f"{name} cannot be executed"
    for directory in environment.get("PATH", os.defpath).split(os.pathsep):
        if os.access(os.path.join(directory, name), os.X_OK):
            return None
    return f"there is no program {name} in PATH"
