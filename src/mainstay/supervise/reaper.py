"""Ends every process group of a program once the program is gone, however it died.

In: lines on a pipe, `+PGID` for a group that began and `-PGID` for one that ended; then the pipe's end. Out: SIGTERM to all
groups that are left, SIGKILL to what is left of them `GRACE_S` later. A group whose announcement was cut off by the death of
the program is found by the mark in its environment, where the system shows it. Invariant: it runs in a session of its own and
ignores signals, so that what ends the program does not end it. `Reaper` is the program's end of the pipe; run as a program this
file is the other, on the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

MARK = "MAINSTAY_REAPER"
"""Variable in the environment of each child; its value is the same for all of one program."""

GRACE_S = 1.0


class Reaper:
    """Starts the reaper; `tell` and `forget` as groups come and go, `close` when all is done."""

    def __init__(self) -> None:
        self.mark = f"{os.getpid()}-{time.time_ns()}"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, self.mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def environment(self) -> dict[str, str]:
        """What each child's environment must hold."""
        return {MARK: self.mark}

    def tell(self, group: int) -> None:
        """A group has begun."""
        self._write(f"+{group}\n")

    def forget(self, group: int) -> None:
        """A group has ended: its number may become another's."""
        self._write(f"-{group}\n")

    def close(self) -> None:
        """End what is left, and the reaper."""
        pipe = self._pipe()
        with contextlib.suppress(OSError):
            pipe.close()
        self._process.wait()

    def _write(self, line: str) -> None:
        # A reaper that somebody killed must not take the program with it; one that is closed wants to hear nothing more.
        with contextlib.suppress(OSError, ValueError):
            pipe = self._pipe()
            pipe.write(line.encode())
            pipe.flush()

    def _pipe(self) -> IO[bytes]:
        pipe = self._process.stdin
        assert pipe is not None
        return pipe


def read_groups(lines: IO[bytes]) -> set[int]:
    """Return the groups that are left when the pipe ends."""
    groups: set[int] = set()
    for line in lines:
        text = line.decode(errors="replace").strip()
        if text[1:].isdigit():
            (groups.add if text[0] == "+" else groups.discard)(int(text[1:]))
    return groups


def marked_groups(mark: str) -> set[int]:
    """Return the groups of processes with the mark in their environment (Linux only; elsewhere none are found)."""
    found: set[int] = set()
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError, ValueError):
            if wanted in entry.read_bytes().split(b"\0"):
                found.add(os.getpgid(int(entry.parent.name)))
    return found - {os.getpgid(0)}


def end_groups(groups: set[int], mark: str) -> None:
    """Ask all groups to end, and force what is left."""
    for group in groups | marked_groups(mark):
        _signal(group, signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    while time.monotonic() < until and any(_is_alive(group) for group in groups):
        time.sleep(0.02)
    for group in groups | marked_groups(mark):
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, number)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def main(mark: str) -> None:
    """Read until the pipe ends, then end all."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    end_groups(read_groups(sys.stdin.buffer), mark)


if __name__ == "__main__":
    main(sys.argv[1])
