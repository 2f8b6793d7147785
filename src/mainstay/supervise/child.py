"""One child process from its first start to its end: a machine.

In: what happened (`Event`), with the time in ms. Out: `Command`s. States: `idle → running ⇄ waiting → stopping → ended`.
Invariants: at most one process at a time; restarts wait twice as long each time, from `BackOff.first` to `BackOff.last`,
and soon again after the child has run for `BackOff.steady`; whoever asks for an end gets it within `grace`, by force if
need be. No I/O, no clock.
"""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["idle", "running", "waiting", "stopping", "ended"]


class BackOff(msgspec.Struct, frozen=True):
    """How restarts are spaced, in ms. A child that ran for `steady` is thought well again. `attempts`: failures in a row after
    which it is given up; 0: never."""

    first: int = 200
    last: int = 10_000
    steady: int = 10_000
    attempts: int = 0

    def delay(self, failures: int) -> int:
        """Wait before the restart after so many failures in a row (at least 1)."""
        return min(self.last, self.first << min(failures - 1, 16))


# --- events -------------------------------------------------------------------------------------------------------


class StartAsked(msgspec.Struct, frozen=True):
    """It shall run."""


class Exited(msgspec.Struct, frozen=True):
    """The process has ended, and its group with it; `status` as `subprocess` has it: negative for a signal."""

    status: int


class CouldNotStart(msgspec.Struct, frozen=True):
    reason: str


class RestartAsked(msgspec.Struct, frozen=True):
    """End it and start it again at once: nobody's failure."""


class StopAsked(msgspec.Struct, frozen=True):
    """End it for good."""


class TimerFired(msgspec.Struct, frozen=True):
    """The last `SetTimer` is due."""


Event = StartAsked | Exited | CouldNotStart | RestartAsked | StopAsked | TimerFired

# --- commands -----------------------------------------------------------------------------------------------------


class Start(msgspec.Struct, frozen=True):
    """Start a process; `Exited` or `CouldNotStart` answers."""


class Terminate(msgspec.Struct, frozen=True):
    """Ask the process to end."""


class Kill(msgspec.Struct, frozen=True):
    """End the whole process group."""


class SetTimer(msgspec.Struct, frozen=True):
    """Replaces the timer before."""

    at: int


class Crashed(msgspec.Struct, frozen=True):
    """Tell people: it ended by itself and starts again in `delay` ms."""

    reason: str
    delay: int


class GaveUp(msgspec.Struct, frozen=True):
    """Tell people: it failed too often and stays away."""

    reason: str


class Ended(msgspec.Struct, frozen=True):
    """It was asked to end, and has."""


Command = Start | Terminate | Kill | SetTimer | Crashed | GaveUp | Ended


class Child:
    """The machine. `grace`: ms between `Terminate` and `Kill`."""

    def __init__(self, back_off: BackOff, grace: int) -> None:
        self._back_off = back_off
        self._grace = grace
        self._failures = 0
        self._started = 0
        self._again = False
        self.state: State = "idle"

    def handle(self, event: Event, now: int) -> list[Command]:
        match event:
            case StartAsked():
                return self._start(now) if self.state == "idle" else []
            case Exited(status):
                return self._gone(describe_status(status), now)
            case CouldNotStart(reason):
                return self._gone(reason, now)
            case RestartAsked():
                return self._restart(now)
            case StopAsked():
                return self._stop(now)
            case TimerFired():
                return self._timer(now)

    def _start(self, now: int) -> list[Command]:
        self.state, self._started = "running", now
        return [Start()]

    def _gone(self, reason: str, now: int) -> list[Command]:
        if self.state == "stopping":
            if self._again:
                self._again, self._failures = False, 0
                return self._start(now)
            self.state = "ended"
            return [Ended()]
        if self.state != "running":
            return []
        if now - self._started >= self._back_off.steady:
            self._failures = 0
        self._failures += 1
        if self._back_off.attempts and self._failures >= self._back_off.attempts:
            self.state = "ended"
            return [GaveUp(reason), Ended()]
        self.state = "waiting"
        delay = self._back_off.delay(self._failures)
        return [Crashed(reason, delay), SetTimer(now + delay)]

    def _restart(self, now: int) -> list[Command]:
        if self.state == "running":
            self.state, self._again = "stopping", True
            return [Terminate(), SetTimer(now + self._grace)]
        return self._start(now) if self.state == "waiting" else []

    def _stop(self, now: int) -> list[Command]:
        match self.state:
            case "running":
                self.state = "stopping"
                return [Terminate(), SetTimer(now + self._grace)]
            case "stopping":
                if self._again:
                    self._again = False
                    return []
                return [Kill()]
            case "ended":
                return []
        self.state = "ended"
        return [Ended()]

    def _timer(self, now: int) -> list[Command]:
        if self.state == "waiting":
            return self._start(now)
        return [Kill()] if self.state == "stopping" else []


def describe_status(status: int) -> str:
    """`exit status 3`, `signal 9`."""
    return f"signal {-status}" if status < 0 else f"exit status {status}"
