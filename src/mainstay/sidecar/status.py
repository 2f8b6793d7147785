"""What the sidecar can say of itself: for its pages, its ready file, and its metrics.

In: notes from the brain. Out: plain values. Outlives a brain that starts over. Holds no secrets and, of resources, names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
        self.application: dict[str, Any] = {}
        """What the application has registered, if it may."""

    def metrics(self, held: Mapping[str, int], waiting: int) -> str:
        """Prometheus text. `held`: resources in force, by kind; `waiting`: resources that wait for others."""
        lines: list[str] = []

        def tell(name: str, kind: str, values: Iterable[tuple[str, float]]) -> None:
            lines.append(f"# TYPE mainstay_{name} {kind}")
            lines.extend(f"mainstay_{name}{labels} {value}" for labels, value in values)

        def by_kind(counts: Mapping[Any, int]) -> Iterable[tuple[str, float]]:
            return ((f'{{kind="{kind}"}}', count) for kind, count in sorted(counts.items()))

        tell("control_plane_connected", "gauge", [("", int(self.connected))])
        tell("control_plane_connections_total", "counter", [("", self.connections)])
        tell("xds_responses_total", "counter", by_kind(self.responses))
        tell("xds_refused_responses_total", "counter", [("", self.refused_responses)])
        tell("resources", "gauge", by_kind(held))
        tell("resources_refused", "gauge", [("", len(self.refusals))])
        tell("resources_waiting", "gauge", [("", waiting)])
        tell("brain_deaths_total", "counter", [("", self.deaths)])
        if self.certificate is not None:
            tell("certificate_not_after_seconds", "gauge", [("", self.certificate.not_after / 1_000)])
        return "\n".join(lines) + "\n"

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
