"""The tiny process that ends all children however their parent died.

In: lines on its standard input, `+GROUP` for each process group that starts and `-GROUP` for each that has ended. Out:
nothing; when its input ends (the parent has closed it, or was killed), each group that is left gets SIGTERM, and SIGKILL
`GRACE_S` later. Invariant: it ignores the terminal's signals, holds no other descriptor of the parent, and imports nothing
but the standard library's core, so that it is up in a moment. `Reaper` is the parent's end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

GRACE_S = 2.0
"""Between asking and ending, when the parent could not stop its children in order."""

POLL_S = 0.05


class Reaper:
    """The parent's end of the pipe. Start it before any child; groups are told with `add` and `remove`."""

    def __init__(self) -> None:
        # A session of its own: neither Ctrl-C nor the end of the terminal reaches it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdin is not None, "was asked for"
        self._pipe = self._process.stdin

    def add(self, group: int) -> None:
        """A process group has started."""
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """The leader of a group has ended and was waited for: its number may be used again."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Ends whatever is left; returns when nothing is."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(
            OSError
        ):  # killed by somebody: then nothing reaps, and children still stop in order
            self._pipe.write(line.encode())
            self._pipe.flush()


def reap(groups: set[int]) -> None:
    """Ends process groups: asks first, then kills."""
    for group in groups:
        _signal(group, signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    left = set(groups)
    while left and time.monotonic() < until:
        left = {group for group in left if _signal(group, 0)}
        if left:
            time.sleep(POLL_S)
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Whether the group still has a process."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """The process: reads until the end of its input, then reaps."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        sign, group = line[:1], line[1:].strip()
        if group.isdigit() and int(group) > 1:
            (groups.add if sign == b"+" else groups.discard)(int(group))
    reap(groups)


if __name__ == "__main__":
    main()
