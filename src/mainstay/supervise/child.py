"""One child process as a machine without I/O: when to start it, start it again, ask it to stop, end it.

In: what happened (`Event`), with the time in ms. Out: what to do (`Command`). Invariants: at most one process at a time;
after `Stop` nothing is spawned any more; a process that does not end within `stop_ms` of being asked is killed. Run by
`spawn`.

    idle → running ⇄ waiting (back-off) → given up;  running → stopping → ended
"""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["idle", "running", "waiting", "stopping", "ended", "given up"]


class Policy(msgspec.Struct, frozen=True):
    """How a child is kept going; times in ms. Back-off doubles from `first_backoff_ms` to `last_backoff_ms` and begins anew
    once a process has lived for `stable_ms`; `restarts` failures in a row without that are too many. `restart` False: its end
    is final."""

    restart: bool = True
    first_backoff_ms: int = 200
    last_backoff_ms: int = 10_000
    stable_ms: int = 10_000
    restarts: int = 10
    stop_ms: int = 10_000


class Start(msgspec.Struct, frozen=True):
    """Begin."""


class Exited(msgspec.Struct, frozen=True):
    """The process is gone: exit status, or minus the signal that ended it."""

    status: int


class SpawnFailed(msgspec.Struct, frozen=True):
    """There is no process: the program does not exist, say."""

    reason: str


class TimerFired(msgspec.Struct, frozen=True):
    """The time of the last `SetTimer` has come."""


class Stop(msgspec.Struct, frozen=True):
    """End it, and leave it ended."""


Event = Start | Exited | SpawnFailed | TimerFired | Stop


class Spawn(msgspec.Struct, frozen=True):
    """Start the process."""


class Terminate(msgspec.Struct, frozen=True):
    """Ask it to stop (SIGTERM to the process)."""


class Kill(msgspec.Struct, frozen=True):
    """End its whole group (SIGKILL)."""


class SetTimer(msgspec.Struct, frozen=True):
    """Send `TimerFired` at this time; replaces the one before."""

    at: int


class Report(msgspec.Struct, frozen=True):
    """Something its owner should know."""

    what: Literal["started", "restarting", "exited", "given up"]
    reason: str = ""


Command = Spawn | Terminate | Kill | SetTimer | Report


class Child:
    """See the module."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._started_at = 0
        self._failures = 0
        self.state: State = "idle"

    def handle(self, event: Event, now: int) -> list[Command]:
        """What follows from an event; one that means nothing in the present state is ignored."""
        match event:
            case Start() if self.state == "idle":
                return self._spawn(now)
            case Exited(status):
                return self._exited(status, now)
            case SpawnFailed(reason) if self.state == "running":
                return self._failed(reason, now)
            case TimerFired() if self.state == "waiting":
                return self._spawn(now)
            case TimerFired() if self.state == "stopping":
                return [Kill()]
            case Stop() if self.state == "running":
                self.state = "stopping"
                return [Terminate(), SetTimer(now + self._policy.stop_ms)]
            case Stop() if self.state in ("idle", "waiting"):
                self.state = "ended"
                return []
            case _:
                return []

    def _spawn(self, now: int) -> list[Command]:
        self.state = "running"
        self._started_at = now
        return [Spawn(), Report("started")]

    def _exited(self, status: int, now: int) -> list[Command]:
        if self.state == "stopping":
            self.state = "ended"
            return [Report("exited", describe_status(status))]
        if self.state != "running":
            return []
        return self._failed(describe_status(status), now)

    def _failed(self, reason: str, now: int) -> list[Command]:
        policy = self._policy
        if not policy.restart:
            self.state = "ended"
            return [Report("exited", reason)]
        if now - self._started_at >= policy.stable_ms:
            self._failures = 0
        self._failures += 1
        if self._failures > policy.restarts:
            self.state = "given up"
            return [Report("given up", f"{reason}, {self._failures} times in a row")]
        wait = min(policy.last_backoff_ms, policy.first_backoff_ms << min(self._failures - 1, 16))
        self.state = "waiting"
        return [Report("restarting", f"{reason}; again in {wait} ms"), SetTimer(now + wait)]


def describe_status(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        import signal

        try:
            return f"ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"ended by signal {-status}"
    return f"exit status {status}"
