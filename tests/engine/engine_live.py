"""A live engine, and small servers to stand behind it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING

from engine_plans import LOOPBACK, delta

from mainstay.engine import Engine
from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainstay.engine import ApplyReport, Event

PATIENCE = 10.0
"""Seconds after which a test gives up; nothing waits that long when all is well."""


class Live:
    """An engine with what tests ask of it."""

    def __init__(self, workers: int = 1, **settings: object) -> None:
        self.engine = Engine(plan.EngineSettings("test", workers=workers, **settings))  # type: ignore[arg-type]
        self._events: deque[Event] = deque()

    def apply(self, *resources: plan.Resource, removed: tuple[tuple[str, str], ...] = ()) -> ApplyReport:
        report = self.engine.apply(delta(*resources, removed=removed))
        assert not report.refused, report.refused
        return report

    def port(self, listener: str) -> int:
        return int(dict(self.engine.listeners())[listener].rpartition(":")[2])

    def dial(self, listener: str) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.port(listener)), timeout=PATIENCE)

    def event(self, kind: type[Event]) -> Event:
        """The next event of a kind; others before it are passed over."""
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, kind):
                    return event
            self._events.extend(self.engine.wait(int(PATIENCE * 1_000)))
            assert self._events, f"no {kind.__name__} came"


class Server:
    """Accepts, and gives each connection to `serve` in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], object], bound: socket.socket | None = None) -> None:
        self.listener = bound or socket.create_server((LOOPBACK, 0))
        self.accepted = 0
        self._serve = serve
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        with connection, contextlib.suppress(OSError, EOFError):
            self._serve(connection)

    def close(self) -> None:
        self.listener.close()


def stat(live: Live, name: str) -> int:
    """The sum of all counters whose names end so."""
    lines = live.engine.render("/stats").decode().splitlines()
    return sum(int(line.rpartition(": ")[2]) for line in lines if line.partition(": ")[0].endswith(name))
