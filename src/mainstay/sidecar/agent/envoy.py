"""An Envoy from its first start to its end: a machine.

In: that the files are there, what became of the process, what its admin pages answer, wishes; with the time in ms. Out:
`Command`s. Invariants: it is started once the certificates are there, and again after a crash, with back-off; ready is what
`/ready` says, and over at once with the process; a drain asks Envoy to see its clients off, and ends when nothing is under way or
time is up; once draining, a process that goes stays away. No I/O, no clock.
"""

from __future__ import annotations

import msgspec

from mainstay.sidecar.beside import Scope
from mainstay.supervise import child
from mainstay.supervise.child import BackOff, Child

LOOK_MS = 200
"""Between looks at a proxy that is getting ready, or draining."""
STEADY_MS = 2_000
"""Between looks at one that is ready."""
PATIENCE = 3
"""Looks in a row without success after which a ready proxy is not ready any more: it may just be busy."""
GRACE_MS = 5_000
"""Between SIGTERM and SIGKILL."""

# --- events -------------------------------------------------------------------------------------------------------


class FilesKept(msgspec.Struct, frozen=True):
    """Bootstrap and certificates are in place."""


class Looked(msgspec.Struct, frozen=True):
    """Answer to `LookReady`."""

    ready: bool


class Counted(msgspec.Struct, frozen=True):
    """Answer to `CountActive`; None: it did not answer."""

    active: int | None


class DrainAsked(msgspec.Struct, frozen=True):
    scope: Scope
    min_ms: int
    max_ms: int


class StopAsked(msgspec.Struct, frozen=True):
    pass


class TimePassed(msgspec.Struct, frozen=True):
    """`next_deadline` has come."""


Event = (
    FilesKept | child.Exited | child.CouldNotStart | Looked | Counted | DrainAsked | StopAsked | TimePassed
)

# --- commands -----------------------------------------------------------------------------------------------------


class LookReady(msgspec.Struct, frozen=True):
    """Ask `/ready`; answer with `Looked`."""


class CountActive(msgspec.Struct, frozen=True):
    """Count what is under way; answer with `Counted`."""

    scope: Scope


class BeginDrain(msgspec.Struct, frozen=True):
    """Tell Envoy to fail its health check and to drain."""

    scope: Scope


class ReadyChanged(msgspec.Struct, frozen=True):
    ready: bool


class DrainEnded(msgspec.Struct, frozen=True):
    """`cut`: what was still under way."""

    cut: int


Command = (
    child.Start
    | child.Terminate
    | child.Kill
    | child.Crashed
    | child.Ended
    | LookReady
    | CountActive
    | BeginDrain
    | ReadyChanged
    | DrainEnded
)


class _Drain(msgspec.Struct):
    scope: Scope
    earliest: int
    latest: int
    ended: bool = False


class Envoy:
    """The machine."""

    def __init__(self, back_off: BackOff = BackOff()) -> None:
        self._child = Child(back_off, GRACE_MS)
        self._child_at: int | None = None
        self._look_at: int | None = None
        self._missed = 0
        self._drain: _Drain | None = None
        self.ready = False
        self.starts = 0

    @property
    def state(self) -> str:
        """For people."""
        if self._drain is not None and self._child.state == "running":
            return "draining"
        return "ready" if self.ready else self._child.state

    def next_deadline(self) -> int | None:
        return min((at for at in (self._child_at, self._look_at) if at is not None), default=None)

    def handle(self, event: Event, now: int) -> list[Command]:
        out: list[Command] = []
        match event:
            case FilesKept():
                self._tell_child(child.StartAsked(), now, out)
            case child.Exited() | child.CouldNotStart():
                self._gone(event, now, out)
            case Looked(ready):
                self._looked(ready, now, out)
            case Counted(active):
                self._counted(active, now, out)
            case DrainAsked():
                self._begin_drain(event, now, out)
            case StopAsked():
                self._look_at = None
                if self._child.state == "ended":
                    out.append(child.Ended())
                else:
                    self._tell_child(child.StopAsked(), now, out)
            case TimePassed():
                self._pass_time(now, out)
        return out

    def _tell_child(self, event: child.Event, now: int, out: list[Command]) -> None:
        for command in self._child.handle(event, now):
            match command:
                case child.SetTimer(at):
                    self._child_at = at
                case child.GaveUp():
                    pass  # the back-off has no end
                case child.Start():
                    self.starts += 1
                    self._missed = 0
                    self._look_at = now + LOOK_MS
                    out.append(command)
                case _:
                    out.append(command)

    def _gone(self, event: child.Exited | child.CouldNotStart, now: int, out: list[Command]) -> None:
        self._child_at = self._look_at = None
        self._become(False, out)
        if self._drain is not None and self._child.state == "running":
            # It is not wanted any more: the machine must not start it again.
            self._end_drain(0, out)
            for command in self._child.handle(event, now):
                if isinstance(command, child.Crashed):
                    out.append(command)
            return
        self._tell_child(event, now, out)

    def _looked(self, ready: bool, now: int, out: list[Command]) -> None:
        if self._child.state != "running" or self._drain is not None:
            return
        self._missed = 0 if ready else self._missed + 1
        if ready or self._missed >= PATIENCE:
            self._become(ready, out)
        self._look_at = now + (STEADY_MS if ready else LOOK_MS)

    def _become(self, ready: bool, out: list[Command]) -> None:
        if self.ready != ready:
            self.ready = ready
            out.append(ReadyChanged(ready))

    # --- draining -------------------------------------------------------------------------------------------------

    def _begin_drain(self, asked: DrainAsked, now: int, out: list[Command]) -> None:
        self._drain = _Drain(asked.scope, now + asked.min_ms, now + asked.max_ms)
        if self._child.state != "running":
            self._tell_child(child.StopAsked(), now, out)
            self._end_drain(0, out)
            return
        out.append(BeginDrain(asked.scope))
        self._look_at = min(now + max(asked.min_ms, LOOK_MS), self._drain.latest)

    def _counted(self, active: int | None, now: int, out: list[Command]) -> None:
        drain = self._drain
        if drain is None or drain.ended:
            return
        if active == 0 or now >= drain.latest:
            self._end_drain(active or 0, out)
        else:
            self._look_at = min(now + LOOK_MS, drain.latest)

    def _end_drain(self, cut: int, out: list[Command]) -> None:
        if self._drain is not None and not self._drain.ended:
            self._drain.ended = True
            self._look_at = None
            out.append(DrainEnded(cut))

    def _pass_time(self, now: int, out: list[Command]) -> None:
        if self._child_at is not None and now >= self._child_at:
            self._child_at = None
            self._tell_child(child.TimerFired(), now, out)
        if self._look_at is None or now < self._look_at:
            return
        self._look_at = None
        if self._drain is not None:
            out.append(CountActive(self._drain.scope))
        elif self._child.state == "running":
            out.append(LookReady())
