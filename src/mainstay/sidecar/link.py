"""gRPC over the engine's calls: the one stream of xDS, and single calls. The only place that knows gRPC.

In: what to open and to send; the engine's `Grpc…` events. Out: messages and ends, by call. Invariants: events of a call that was
given up are dropped; a stream gets a new message only while there is room for it (`GRANTED` at most are on their way), so a
server cannot fill our memory; a single call ends by its deadline at the latest.
"""

from __future__ import annotations

import msgspec

from mainstay.engine import GrpcClosed, GrpcMessage
from mainstay.sidecar.border import Lease

GRANTED = 4
"""Responses of the stream that may be on their way. One a kind is the rule; a slow turn should not stall the others."""
CALL_MS = 15_000
DEADLINE_EXCEEDED = 4
NO_ANSWER = 13


class Message(msgspec.Struct, frozen=True):
    """The stream brought a message; `link.done()` says that it has been dealt with."""

    body: bytes


class End(msgspec.Struct, frozen=True):
    """The stream, or a single call, failed or ended: gRPC status and words."""

    status: int
    words: str


class Answer(msgspec.Struct, frozen=True):
    """A single call's answer."""

    body: bytes


class Stream:
    """The long-lived call. At most one is open."""

    def __init__(self, lease: Lease, cluster: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._lease = lease
        self._cluster = cluster
        self._metadata = metadata
        self._call: int | None = None

    @property
    def cluster(self) -> str:
        return self._cluster

    def move(self, cluster: str) -> None:
        """Gives up the call; the next one goes to another cluster."""
        self.cancel()
        self._cluster = cluster

    def open(self, path: str) -> None:
        self.cancel()
        self._call = self._lease.open_grpc(self._cluster, path, self._metadata)
        self._lease.engine.grant(self._call, GRANTED)

    def send(self, message: bytes) -> None:
        if self._call is not None:
            self._lease.engine.send(self._call, message)

    def cancel(self) -> None:
        if self._call is not None:
            self._lease.cancel(self._call)
            self._call = None

    def done(self) -> None:
        """A message has been dealt with: another may come."""
        if self._call is not None:
            self._lease.engine.grant(self._call, 1)

    def take(self, event: GrpcMessage | GrpcClosed) -> Message | End | None:
        if event.call != self._call:
            return None
        if isinstance(event, GrpcMessage):
            return Message(event.message)
        self._lease.closed(event.call)
        self._call = None
        return End(event.status, event.message)


class Call:
    """One question, one answer. At most one is open."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._call: int | None = None
        self._answer: bytes | None = None
        self._deadline = 0

    def ask(self, cluster: str, path: str, message: bytes, now: int) -> None:
        self.cancel()
        self._answer = None
        self._call = self._lease.open_grpc(cluster, path)
        self._lease.engine.grant(self._call, 1)
        self._lease.engine.send(self._call, message, end=True)
        self._deadline = now + CALL_MS

    def cancel(self) -> None:
        if self._call is not None:
            self._lease.cancel(self._call)
            self._call = None

    @property
    def deadline(self) -> int | None:
        """When it is given up; `None` if there is nothing to give up."""
        return self._deadline if self._call is not None else None

    def expire(self, now: int) -> End | None:
        """Gives it up if its time has come."""
        if self._call is None or now < self._deadline:
            return None
        self.cancel()
        return End(DEADLINE_EXCEEDED, f"no answer within {CALL_MS // 1_000} s")

    def take(self, event: GrpcMessage | GrpcClosed) -> Answer | End | None:
        """The answer counts once the status says that it is whole."""
        if event.call != self._call:
            return None
        if isinstance(event, GrpcMessage):
            self._answer = event.message
            return None
        self._lease.closed(event.call)
        self._call = None
        if event.status == 0 and self._answer is not None:
            return Answer(self._answer)
        return End(event.status or NO_ANSWER, event.message or "the server ended the call without an answer")
