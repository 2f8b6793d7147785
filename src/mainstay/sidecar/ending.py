"""The end of a process whose brain has died of it: the engine sees off its traffic and stops, by the same lifecycle.

In: events of the engine. Out: calls to it. Invariant: nothing here converts, connects or needs a file, so that whatever the brain
dies of cannot keep the process alive. The control plane is not told; it sees the stream end. Run by `main`.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable

from mainstay.engine import Drained, Event, Signal, Stopped
from mainstay.sidecar import lifecycle
from mainstay.sidecar.beside import Beside, ProxyDrained, ProxyGone
from mainstay.sidecar.border import Engine
from mainstay.sidecar.status import Status
from mainstay.telemetry.log import get_log

_log = get_log("sidecar.ending")
LONGEST_WAIT_MS = 30_000
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """See the module. `clock`: monotonic ms."""

    def __init__(
        self,
        engine: Engine,
        life: lifecycle.Lifecycle,
        status: Status,
        clock: Callable[[], int],
        beside: Beside | None = None,
    ) -> None:
        self._engine = engine
        self._life = life
        self._status = status
        self._clock = clock
        self._beside = beside if beside is not None and beside.runs else None
        self._drain_token: int | None = None
        self._linger = 0
        self._ended = False

    def run(self, before: Iterable[Event]) -> None:
        """Until the engine has stopped. `before`: events that no brain has taken."""
        _log.warning("ends without a brain")
        self._carry_out(self._life.resume(self._clock()))
        self._take(before)
        if not self._life.is_ending:
            self._live(lifecycle.StopAsked())
        while not self._ended:
            self._take(self._engine.wait(self._patience()))
            self._look_beside()

    def _patience(self) -> int:
        deadline = self._beside.next_deadline() if self._beside is not None else None
        return LONGEST_WAIT_MS if deadline is None else max(0, min(deadline - self._clock(), LONGEST_WAIT_MS))

    def _look_beside(self) -> None:
        if self._beside is None:
            return
        self._beside.child_changed(self._clock())
        self._beside.tick(self._clock())
        for outcome in self._beside.take_outcomes():
            match outcome:
                case ProxyDrained():
                    self._live(lifecycle.DrainEnded())
                case ProxyGone() if self._linger:
                    self._engine.shutdown(self._linger)
                case _:
                    pass

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Signal(number) if number in STOP_SIGNALS:
                    self._live(lifecycle.StopAsked())
                case Drained(token, _) if token == self._drain_token:
                    self._live(lifecycle.DrainEnded())
                case Stopped():
                    self._live(lifecycle.EngineStopped())

    def _live(self, event: lifecycle.Event) -> None:
        self._carry_out(self._life.handle(event, self._clock()))
        self._status.state = self._life.state

    def _carry_out(self, commands: Iterable[lifecycle.Command]) -> None:
        for command in commands:
            match command:
                case lifecycle.SetReady(ready):
                    self._engine.set_ready(ready)
                    with contextlib.suppress(OSError):
                        self._status.ready(ready)
                case lifecycle.TellDraining():
                    pass
                case lifecycle.Drain(scope, shortest, longest) if self._beside is not None:
                    self._beside.drain(scope, shortest, longest, self._clock())
                case lifecycle.Drain(scope, shortest, longest):
                    self._drain_token = self._engine.drain(scope, shortest, longest)
                case lifecycle.Shutdown(deadline) if self._beside is not None:
                    self._linger = deadline
                    self._beside.stop(self._clock())
                case lifecycle.Shutdown(deadline):
                    self._engine.shutdown(deadline)
                case lifecycle.Ended():
                    self._ended = True
