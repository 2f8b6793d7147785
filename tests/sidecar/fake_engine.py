"""A model of the engine's border: the same methods, no sockets; time passes only while the brain waits.

gRPC calls go to `servers`, by cluster: a server is told what is sent and says what comes back. The model checks what the real
engine would refuse or choke on: calls on clusters that are not there, more messages than were granted, unknown keys.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from mainstay.engine import (
    ApplyReport,
    Delta,
    Drained,
    Event,
    GrpcClosed,
    GrpcMessage,
    GrpcOpened,
    Held,
    ListenerBound,
    RefusedEvent,
    RefusedResource,
    Signal,
    Stopped,
)
from mainstay.sidecar.convert.references import Reference

ORDER = ("secret", "endpoints", "cluster", "route", "generic_route", "listener")


class Reply(msgspec.Struct):
    """What a server gives back."""

    messages: list[bytes] = []
    status: int | None = None
    words: str = ""


class Server(Protocol):
    """One call's other side. `now` in ms."""

    def opened(self, path: str, now: int) -> Reply: ...
    def received(self, message: bytes, end: bool, now: int) -> Reply: ...
    def passed(self, now: int) -> Reply: ...


class _Call:
    def __init__(self, cluster: str, server: Server) -> None:
        self.cluster = cluster
        self.server = server
        self.granted = 0
        self.pending: deque[bytes] = deque()
        self.ended: tuple[int, str] | None = None


class FakeEngine:
    """See the module. `refuse`: says why an upsert is refused, by reference."""

    def __init__(self) -> None:
        self.now = 0
        self.limit = 1 << 60
        """Time does not pass beyond this."""
        self.wall = 1_000_000_000_000
        self.resources: dict[Reference, tuple[str, bytes]] = {}
        self.deltas: list[Delta] = []
        self.refuse: dict[Reference, tuple[str, str]] = {}
        self.servers: dict[str, Callable[[], Server | None]] = {}
        self.events: deque[Event] = deque()
        self.calls: dict[int, _Call] = {}
        self.taken_ports: set[str] = set()
        self.keys: dict[int, bytes] = {}
        self.ready: list[bool] = []
        self.memory_given_back = 0
        self.metrics = ""
        self.drains: list[tuple[str, int, int]] = []
        self.answers: dict[int, tuple[int, bytes]] = {}
        self.forbid_apply = False
        self.stopped = False
        self._numbers = 0
        self._drain_ends: list[tuple[int, int]] = []

    # --- what tests do --------------------------------------------------------------------------------------------

    def clock(self) -> int:
        return self.now

    def wall_clock(self) -> int:
        return self.wall + self.now

    def happen(self, event: Event) -> None:
        self.events.append(event)

    def signal(self, number: int) -> None:
        self.happen(Signal(number))

    def names(self, kind: str) -> list[str]:
        return sorted(name for held, name in self.resources if held == kind)

    def plan(self, kind: str, name: str) -> object:
        """The body of a resource in force, as plain values."""
        return msgspec.msgpack.decode(self.resources[kind, name][1])  # type: ignore[index]

    def cut(self, cluster: str) -> None:
        """Every call on a cluster dies."""
        for call in self.calls.values():
            if call.cluster == cluster and call.ended is None:
                call.ended = (14, "connection reset")
                call.pending.clear()

    # --- the border -----------------------------------------------------------------------------------------------

    def apply(self, delta: Delta) -> ApplyReport:
        assert not self.forbid_apply, "no change was due"
        self.deltas.append(delta)
        kinds = [ORDER.index(upsert.resource) for upsert in delta.upserts]
        assert kinds == sorted(kinds)
        refused = []
        for upsert in delta.upserts:
            reference: Reference = (upsert.resource, upsert.name)
            if reference in self.refuse:
                path, reason = self.refuse[reference]
                refused.append(RefusedResource(upsert.resource, upsert.name, path, reason))
            else:
                self.resources[reference] = (upsert.digest, upsert.body)
                if upsert.resource == "listener":
                    self._bind(upsert.name)
        for removal in delta.removals:
            self.resources.pop((removal.resource, removal.name), None)
        return ApplyReport(len(self.deltas), len(delta.upserts) - len(refused), tuple(refused))

    def check(self, delta: Delta) -> ApplyReport:
        refused = [
            RefusedResource(upsert.resource, upsert.name, *self.refuse[upsert.resource, upsert.name])
            for upsert in delta.upserts
            if (upsert.resource, upsert.name) in self.refuse
        ]
        return ApplyReport(len(self.deltas), len(delta.upserts) - len(refused), tuple(refused))

    def _bind(self, name: str) -> None:
        if name in self.taken_ports:
            self.happen(
                RefusedEvent(
                    "listener", name, "address", "10.0.0.1:1 cannot be bound: address already in use"
                )
            )
        else:
            self.happen(ListenerBound(name, "127.0.0.1:1"))

    def wait(self, timeout_milliseconds: int) -> list[Event]:
        """Events that are there; otherwise time passes, up to the timeout or what happens first."""
        assert 0 <= timeout_milliseconds <= 60_000
        if not self._gather():
            until = max(self.now, min(self.now + timeout_milliseconds, self.limit))
            self.now = min([until, *(at for _, at in self._drain_ends)])
            self._gather()
        found = list(self.events)
        self.events.clear()
        return found

    def _gather(self) -> bool:
        for token, at in tuple(self._drain_ends):
            if at <= self.now:
                self._drain_ends.remove((token, at))
                self.events.append(Drained(token, 0))
        for number, call in tuple(self.calls.items()):
            if call.ended is None:
                self._take(number, call.server.passed(self.now))
            while call.pending and call.granted:
                call.granted -= 1
                self.events.append(GrpcMessage(number, call.pending.popleft()))
            if call.ended is not None and not call.pending:
                del self.calls[number]
                self.events.append(GrpcClosed(number, *call.ended))
        return bool(self.events)

    def open_grpc(self, cluster: str, path: str, metadata: Sequence[tuple[str, str]] = ()) -> int:
        assert ("cluster", cluster) in self.resources, f"no cluster {cluster}"
        self._numbers += 1
        number = self._numbers
        server = self.servers[cluster]() if cluster in self.servers else None
        if server is None:
            self.calls[number] = call = _Call(cluster, Nobody())
            call.ended = (14, "connection refused")
            return number
        self.calls[number] = _Call(cluster, server)
        self.events.append(GrpcOpened(number))
        self._take(number, server.opened(path, self.now))
        return number

    def _take(self, number: int, reply: Reply) -> None:
        call = self.calls[number]
        call.pending.extend(reply.messages)
        if reply.status is not None:
            call.ended = (reply.status, reply.words)

    def send(self, call: int, message: bytes, *, end: bool = False) -> None:
        if call in self.calls and self.calls[call].ended is None:
            self._take(call, self.calls[call].server.received(message, end, self.now))

    def grant(self, call: int, messages: int) -> None:
        if call in self.calls:
            self.calls[call].granted += messages
            assert self.calls[call].granted <= 8, "grants pile up"

    def cancel(self, call: int) -> None:
        self.calls.pop(call, None)

    def answer(self, token: int, status: int, content_type: str, body: bytes) -> None:
        self.answers[token] = (status, body)

    def set_ready(self, ready: bool) -> None:
        self.ready.append(ready)

    def set_metrics(self, text: str) -> None:
        self.metrics = text

    def give_back_memory(self) -> None:
        self.memory_given_back += 1

    def drain(
        self, scope: Literal["inbound", "process"], min_milliseconds: int, max_milliseconds: int
    ) -> int:
        self.drains.append((scope, min_milliseconds, max_milliseconds))
        self._numbers += 1
        self._drain_ends.append((self._numbers, self.now + min_milliseconds))
        return self._numbers

    def held(self) -> list[Held]:
        return [Held(kind, name, digest) for (kind, name), (digest, _) in self.resources.items()]

    def listeners(self) -> list[tuple[str, str]]:
        return [(name, "127.0.0.1:1") for name in self.names("listener")]

    def generate_key(self) -> int:
        self._numbers += 1
        self.keys[self._numbers] = f"key {self._numbers}".encode()
        return self._numbers

    def import_key(self, pem: bytes) -> int:
        self._numbers += 1
        self.keys[self._numbers] = pem
        return self._numbers

    def export_key(self, key: int) -> bytes:
        return self.keys[key]

    def forget_key(self, key: int) -> None:
        del self.keys[key]

    def make_csr(self, key: int, uri: str) -> bytes:
        return b"csr of " + self.keys[key] + b" for " + uri.encode()

    def shutdown(self, deadline_milliseconds: int) -> None:
        self.stopped = True
        self.happen(Stopped())


class Nobody:
    """A server that is not there."""

    def opened(self, path: str, now: int) -> Reply:
        return Reply()

    def received(self, message: bytes, end: bool, now: int) -> Reply:
        return Reply()

    def passed(self, now: int) -> Reply:
        return Reply()
