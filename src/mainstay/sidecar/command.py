"""Runs the commands of probes, with as little as a program can have.

In: program and arguments. Out: a running process. Invariants: no shell; none of our environment, files, standard streams or
working directory; a process group of its own, so that its children end with it; never root: a sidecar that is root runs it as
`--probe-user`. Loaded only where `--probe-commands` allows it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess

from mainstay.settings.define import OperatorError

USAGE = 2
PATH = "/usr/local/bin:/usr/bin:/bin"


class Command:
    """A running program."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    def poll(self) -> int | None:
        with contextlib.suppress(ChildProcessError):
            # Not collected yet: until then no other group can have its number.
            if os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                return None
            self._kill_group()
        return self._popen.wait()

    def kill(self) -> None:
        self._kill_group()
        self._popen.wait()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)


class Runner:
    """See the module. Raises `OperatorError` if the user cannot be had."""

    def __init__(self, user: str) -> None:
        self._user, self._group = _who(user)

    def __call__(self, command: tuple[str, ...]) -> Command:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": PATH, "LANG": "C.UTF-8"},
            process_group=0,
            user=self._user,
            group=self._group,
            extra_groups=None if self._user is None else [],
        )
        return Command(popen)


def _who(user: str) -> tuple[int | None, int | None]:
    """Whose rights commands get; `None`: our own, which are not root's."""
    if os.geteuid() != 0:
        if user:
            raise OperatorError(
                "--probe-user: only a sidecar that is root can run commands as somebody else", USAGE
            )
        return None, None
    if not user:
        raise OperatorError(
            "--probe-commands: this sidecar is root, and commands are not run as root: set --probe-user",
            USAGE,
        )
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise OperatorError(f"--probe-user: there is no user {user!r}", USAGE) from None
    if found.pw_uid == 0:
        raise OperatorError("--probe-user: commands are not run as root", USAGE)
    return found.pw_uid, found.pw_gid
