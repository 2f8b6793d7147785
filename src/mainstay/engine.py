"""The typed face of the engine, and the only importer of the compiled module.

In: plan structs (`mainstay.sidecar.plan`). Out: events and reports. Invariant: what crosses is MessagePack of structs whose
Rust twins a test holds equal; nothing here decides. Callers: the sidecar's loop, and the control plane's front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from mainstay import _engine
from mainstay._engine import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ApplyReport",
    "Asked",
    "Delta",
    "Drained",
    "EndpointHealth",
    "Engine",
    "EngineError",
    "Event",
    "GrpcClosed",
    "GrpcMessage",
    "GrpcOpened",
    "Held",
    "Kind",
    "ListenerBound",
    "RefusedEvent",
    "RefusedResource",
    "Removal",
    "Signal",
    "Stopped",
    "Timer",
    "Trouble",
    "Upsert",
    "Warmed",
    "explain_protocol",
    "native_codecs",
]

Kind = Literal["secret", "endpoints", "cluster", "route", "generic_route", "listener"]
"""Kinds of resources, in the order in which a delta is applied."""

DrainScope = Literal["inbound", "process"]
"""`inbound`: listeners of traffic direction inbound (and those without one); `process`: all of them."""


class Upsert(msgspec.Struct, frozen=True):
    """`body`: MessagePack of the kind's plan struct. An equal `digest` is skipped undecoded."""

    resource: Kind
    name: str
    digest: str
    body: bytes


class Removal(msgspec.Struct, frozen=True):
    resource: Kind
    name: str


class Delta(msgspec.Struct, frozen=True):
    """A change of configuration: upserts are applied in the order of their kinds, removals last and in reverse order."""

    upserts: tuple[Upsert, ...] = ()
    removals: tuple[Removal, ...] = ()


class RefusedResource(msgspec.Struct, frozen=True):
    """The resource keeps its last good version. `path`: field path inside the plan struct, empty for the whole."""

    resource: Kind
    name: str
    path: str
    reason: str


class ApplyReport(msgspec.Struct, frozen=True):
    """`generation` counts snapshots; what is not refused is in force, or warming."""

    generation: int
    accepted: int
    refused: tuple[RefusedResource, ...]


class Held(msgspec.Struct, frozen=True):
    """What the engine holds of a resource: for a brain that starts over."""

    resource: Kind
    name: str
    digest: str


def _snake(name: str) -> str:
    bare = name.removesuffix("Event")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in bare).lstrip("_")


class _Event(msgspec.Struct, frozen=True, tag_field="kind", tag=_snake):
    pass


class GrpcOpened(_Event, frozen=True):
    """The server of a lent gRPC call answered with a head."""

    call: int


class GrpcMessage(_Event, frozen=True):
    """One message, without its five-byte prefix; at most as many as were granted."""

    call: int
    message: bytes


class GrpcClosed(_Event, frozen=True):
    """The call is over: gRPC status (14 if there was no connection) and its text. Nothing of this call follows."""

    call: int
    status: int
    message: str


class Timer(_Event, frozen=True):
    token: int


class Signal(_Event, frozen=True):
    """A POSIX signal that arrived at the process."""

    number: int


class ListenerBound(_Event, frozen=True):
    """A listener has its socket; `address` is `ip:port` with the port that was chosen, or a path."""

    name: str
    address: str


class Warmed(_Event, frozen=True):
    resource: Kind
    name: str


class RefusedEvent(_Event, frozen=True):
    """Found out after it was accepted (a port that is taken, say): the old version serves on."""

    resource: Kind
    name: str
    path: str
    reason: str


class Drained(_Event, frozen=True):
    """The drain with this token is over; `cut` streams had to be reset."""

    token: int
    cut: int


class EndpointHealth(_Event, frozen=True):
    """An active health check changed its mind; `address` is `ip:port` or a path."""

    cluster: str
    address: str
    healthy: bool


class Asked(_Event, frozen=True):
    """Somebody waits for an answer: an operator on the admin listener for a page that only Python knows (answer within a
    second), or the application on its own listener (within ten)."""

    token: int
    asker: Literal["operator", "application"]
    method: str
    path: str
    body: bytes


class Trouble(_Event, frozen=True):
    """A worker caught a panic, or ended."""

    what: str


class Stopped(_Event, frozen=True):
    """The last event: every thread has ended."""


Event = (
    GrpcOpened
    | GrpcMessage
    | GrpcClosed
    | Timer
    | Signal
    | ListenerBound
    | Warmed
    | RefusedEvent
    | Drained
    | EndpointHealth
    | Asked
    | Trouble
    | Stopped
)

_events = msgspec.msgpack.Decoder(list[Event])
_report = msgspec.msgpack.Decoder(ApplyReport)
_held = msgspec.msgpack.Decoder(list[Held])
_encode = msgspec.msgpack.Encoder().encode


def explain_protocol(protocol: msgspec.Struct, frames: bytes) -> bytes:
    """What the engine understands of a protocol's frames, one direction of a connection: MessagePack of `plan.RpcExplained`.

    `protocol`: a `plan.RpcProtocol`. Raises `EngineError` if no codec can be made of it. Needs no engine to run.
    """
    return _engine.explain_protocol(_encode(protocol), frames)


def native_codecs() -> bytes:
    """The codecs that are written in Rust: MessagePack of a list of `plan.RpcNative`. Needs no engine to run."""
    return _engine.native_codecs()


class Engine:
    """One data plane inside this process. Create at most one; nothing may fork after it has started.

    `settings`: an `EngineSettings` plan struct. Raises `EngineError` if the settings are refused (an admin address beyond
    loopback, say) or a listener of the settings cannot be bound.
    """

    def __init__(self, settings: msgspec.Struct) -> None:
        self._border = _engine.Engine(_encode(settings))

    def apply(self, delta: Delta) -> ApplyReport:
        """Puts a change in force. Each resource is judged alone; one that is refused keeps its last good version."""
        return _report.decode(self._border.apply(_encode(delta)))

    def check(self, delta: Delta) -> ApplyReport:
        """Checks what is to wait, without putting it in force: route tables whose clusters are not there. Other kinds pass."""
        return _report.decode(self._border.check(_encode(delta)))

    def wait(self, timeout_milliseconds: int) -> list[Event]:
        """Events in order, at most 256; empty when the time is up. Blocks without the GIL."""
        return _events.decode(self._border.wait(timeout_milliseconds))

    def set_timer(self, delay_milliseconds: int, token: int) -> None:
        """A `Timer` event with this token after the delay; a second call with the same token moves it."""
        self._border.set_timer(delay_milliseconds, token)

    def open_grpc(self, cluster: str, path: str, metadata: Sequence[tuple[str, str]] = ()) -> int:
        """Opens a gRPC call (`path`: `/package.Service/Method`) on a cluster of the plan; the number names it in events."""
        return self._border.open_grpc(cluster, path, list(metadata))

    def send(self, call: int, message: bytes, *, end: bool = False) -> None:
        """Sends one message; `end` half-closes the call behind it. A call that is over swallows it."""
        self._border.send(call, message, end)

    def grant(self, call: int, messages: int) -> None:
        """Lets so many more messages of the call come as events. A call begins with none."""
        self._border.grant(call, messages)

    def cancel(self, call: int) -> None:
        self._border.cancel(call)

    def answer(self, token: int, status: int, content_type: str, body: bytes) -> None:
        """Answers an `Asked` event; too late is harmless."""
        self._border.answer(token, status, content_type, body)

    def set_ready(self, ready: bool) -> None:
        """What `/ready` and the health listener answer."""
        self._border.set_ready(ready)

    def set_metrics(self, text: str) -> None:
        """Prometheus text that `/stats/prometheus` shows behind the engine's own."""
        self._border.set_metrics(text)

    def give_back_memory(self) -> None:
        """Hands memory of the whole process that was freed and kept for later back to the system; takes some milliseconds."""
        self._border.give_back_memory()

    def drain(self, scope: DrainScope, min_milliseconds: int, max_milliseconds: int) -> int:
        """Begins to drain; a `Drained` event with the returned token ends it."""
        return self._border.drain(scope, min_milliseconds, max_milliseconds)

    def held(self) -> list[Held]:
        return _held.decode(self._border.held())

    def listeners(self) -> list[tuple[str, str]]:
        """Bound listeners: name and address with the port that was chosen."""
        return self._border.listeners()

    def extensions(self) -> list[str]:
        """Names of the filters that the engine has: Python keeps no second table."""
        return self._border.extensions()

    def render(self, page: str) -> bytes:
        """An admin page (`/stats/prometheus`, `/clusters` …) as its listener would serve it."""
        return self._border.render(page)

    def set_log_level(self, room: str, level: str) -> None:
        self._border.set_log_level(room, level)

    def signal_descriptor(self) -> int:
        """For `signal.set_wakeup_fd`: signals come back as `Signal` events."""
        return self._border.signal_descriptor()

    def generate_key(self) -> int:
        """A new P-256 key; it stays inside the engine unless exported."""
        return self._border.generate_key()

    def import_key(self, pem: bytes) -> int:
        return self._border.import_key(pem)

    def export_key(self, key: int) -> bytes:
        """PKCS#8 PEM, for the 0600 file that survives restarts."""
        return self._border.export_key(key)

    def forget_key(self, key: int) -> None:
        self._border.forget_key(key)

    def make_csr(self, key: int, uri: str) -> bytes:
        """A PKCS#10 request (DER) for a URI subject alternative name, signed with the key."""
        return self._border.make_csr(key, uri)

    def shutdown(self, deadline_milliseconds: int) -> None:
        """Ends every thread; `Stopped` is the last event."""
        self._border.shutdown(deadline_milliseconds)
