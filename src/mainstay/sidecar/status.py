"""What the sidecar can say of itself: for its pages, its ready file, and its metrics.

In: notes from the brain. Out: plain values. Outlives a brain that starts over. Holds no secrets and, of resources, names alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mainstay.identity.join_wire import Joined
from mainstay.sidecar.convert.references import Reference
from mainstay.xds.client.types import HealthChanged, Judged
from mainstay.xds.types import Kind as XdsKind

MAX_REFUSALS = 256


class Refusal(msgspec.Struct, frozen=True):
    path: str
    reason: str


class Status:
    """`on_ready` is called when readiness changes."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.on_ready: Callable[[bool], None] = lambda _: None
        self.state = "starting"
        self.health: HealthChanged | None = None
        self.listeners: dict[str, str] = {}
        self.refusals: dict[Reference, Refusal] = {}
        self.responses: dict[XdsKind, int] = {}
        self.refused_responses = 0
        self._open: set[str] = set()
        """Sources whose streams have brought something."""
        self.connections = 0
        self.last_loss = ""
        self.deaths = 0
        self.certificate: Joined | None = None
        self.trouble = ""
        """What is wrong with it."""
        self.proxy: dict[str, Any] = {}
        """Of a proxy beside an agent: program, version, state."""

    def ready(self, ready: bool) -> None:
        self.on_ready(ready)

    def bound(self, name: str, address: str) -> None:
        self.listeners[name] = address

    def accept(self, reference: Reference) -> None:
        self.refusals.pop(reference, None)

    def gone(self, reference: Reference) -> None:
        self.refusals.pop(reference, None)
        if reference[0] == "listener":
            self.listeners.pop(reference[1], None)

    def refuse(self, reference: Reference, path: str, reason: str) -> None:
        """The oldest makes room: a control plane that only sends nonsense must not fill memory."""
        self.refusals.pop(reference, None)
        if len(self.refusals) >= MAX_REFUSALS:
            del self.refusals[next(iter(self.refusals))]
        self.refusals[reference] = Refusal(path, reason)

    def judged(self, verdict: Judged) -> None:
        self.refused_responses += bool(verdict.refused)

    @property
    def connected(self) -> bool:
        return bool(self._open)

    def connecting(self) -> None:
        self.connections += 1

    def received(self, source: str, kind: XdsKind) -> None:
        self._open.add(source)
        self.responses[kind] = self.responses.get(kind, 0) + 1

    def lost(self, source: str, status: int, words: str) -> None:
        self._open.discard(source)
        self.last_loss = f"{words} (gRPC status {status})"

    def closed(self, source: str) -> None:
        """It is not needed any more."""
        self._open.discard(source)
