"""The server's streams over grpc.aio, with raw bytes: the only file of this room that does I/O.

In: an `Owner`, who knows which proxy gets which view. Out: gRPC handlers for ADS and the single services, both variants.
Invariants: messages are composed when a stream's turn comes and written one at a time, so that a slow client holds no queue;
an exception ends its stream, not the others. `control/main` builds one `XdsServer` and adds its `handler` to its gRPC servers;
the identity of a peer is found by `identify`, since only the way in tells whether a header may be believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, Protocol

import grpc

from mainstay.telemetry.log import get_log
from mainstay.xds.messages import Node
from mainstay.xds.server.schedule import Ring
from mainstay.xds.server.stream import ServerStream
from mainstay.xds.server.types import (
    Answered,
    ApplicationReported,
    Close,
    Command,
    Demanded,
    Event,
    HealthReported,
    KindStatus,
    Opened,
    Peer,
    RequestReceived,
    Resource,
    Send,
    SetTimer,
    Tick,
    TurnCame,
    UnknownType,
    View,
    ViewChanged,
    Work,
    WriteFinished,
)
from mainstay.xds.types import PATHS, Kind, Variant

log = get_log("xds")

TICK_S = 5.0
"""How often every stream looks at its deadlines."""
MAX_STREAMS = 50_000
MAX_FIRST_LOADS = 32
"""First responses that await their verdict at once. After a restart all proxies come together; who waits runs on what he has."""
FIRST_LOAD_MS = 5_000
"""Longest time that one counts: a proxy that is slow to answer must not hold up the others."""
MAX_AGE_MS = 30 * 60_000
"""Age at which a stream ends, ± 20 %: proxies spread anew over addresses, and what was judged when it opened is judged again."""
AGED_WORDS = "this stream has reached its age; connect again"
LEAF_GRACE_MS = 60_000
"""A stream may outlive the certificate it was opened with by this much: a renewal is under way then."""
ABORT_PAUSE_S = 0.01
ABORT_S = 5.0
"""Longest time to tell a client that its stream ends; one that does not read is not waited for."""
RETRY_WORDS = "too many streams here; try another address, or again in a few seconds"

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),  # a resuming proxy tells all versions it holds
    ("grpc.max_concurrent_streams", 1_000_000),  # the front multiplexes proxies
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    (
        "grpc.http2.max_ping_strikes",
        0,
    ),  # the peer is our own front, or a proxy with keep-alive settings of its own
    ("grpc.so_reuseport", 0),  # two processes must not share a port unnoticed
)
"""Options for the `grpc.aio.server` that gets the handler."""

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RefusedStream(Exception):  # noqa: N818  it reports the peer's fault
    """Raised by `Owner.opened`: end the stream with this gRPC status (7: PERMISSION_DENIED)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Owner(Protocol):
    """Who knows the proxies. All calls come from the event loop, between the awaits of others; none may block."""

    def opened(self, stream: Stream) -> None:
        """The stream has told its node: judge it, and from now on give it views. May raise `RefusedStream`."""

    def demanded(self, stream: Stream, demand: Demanded) -> None:
        """Names were asked for explicitly, or no longer: `View.get` should know them."""

    def answered(self, stream: Stream, answer: Answered) -> None:
        """The proxy's verdict on a response."""

    def health_reported(self, stream: Stream, report: HealthReported) -> None:
        """The proxy reports on its workload."""

    def application_reported(self, stream: Stream, report: ApplicationReported) -> None:
        """The proxy tells what its application publishes and wants."""

    def closed(self, stream: Stream) -> None:
        """An opened stream has ended; nothing of it follows."""


class Stream:
    """One open stream, as its owner sees it."""

    __slots__ = (
        "_server",
        "end",
        "id",
        "kinds",
        "machine",
        "message",
        "node",
        "opened",
        "peer",
        "task",
        "timer",
        "until",
        "variant",
        "wake",
        "writing",
    )

    def __init__(
        self, server: XdsServer, number: int, peer: Peer, variant: Variant, kinds: tuple[Kind, ...]
    ) -> None:
        self._server = server
        self.id = number
        self.peer = peer
        self.variant: Variant = variant
        self.kinds = kinds
        self.node = Node("")
        self.opened = False
        self.machine = ServerStream(variant, kinds)
        self.message: bytes | None = None
        self.end: Close | None = None
        self.wake = asyncio.Event()
        self.task: asyncio.Task[Any] | None = None
        self.writing = False
        self.timer: asyncio.TimerHandle | None = None
        self.until = 0

    def show(self, view: View, names: Mapping[Kind, Collection[str]] | None = None) -> None:
        """Gives the stream its view, or a changed one; `names` says what may differ (None: anything)."""
        self._server.tell(self, ViewChanged(view, names))

    def close(self, status: int, reason: str) -> None:
        """Ends the stream (14 UNAVAILABLE moves the proxy elsewhere)."""
        self._server.finish(self, Close(status, reason))

    def status(self) -> dict[Kind, KindStatus]:
        """What is applied, pending, refused, for each kind asked for."""
        return self.machine.status()

    def applied(self, kind: Kind) -> Mapping[str, Resource]:
        """What the proxy has taken, by name."""
        return self.machine.applied(kind)


class XdsServer:
    """All streams of this process. `now` is monotonic ms, `time_of_day` Unix ms."""

    def __init__(
        self,
        owner: Owner,
        now: Callable[[], int],
        *,
        max_streams: int = MAX_STREAMS,
        max_first_loads: int = MAX_FIRST_LOADS,
        time_of_day: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._owner = owner
        self._now = now
        self._max_streams = max_streams
        self._max_first_loads = max_first_loads
        self._time_of_day = time_of_day
        self._random = random
        self._loading: dict[tuple[Stream, Kind], int] = {}
        """First responses under way, and since when."""
        self._numbers = itertools.count(1)
        self._ring: Ring[Stream] = Ring()
        self._work = asyncio.Event()
        self.streams: set[Stream] = set()
        self.refused_streams = 0

    def handler(self, identify: Callable[[Any], Peer]) -> grpc.GenericRpcHandler:
        """Handlers for a grpc.aio server; `identify` makes the peer of a call's `grpc.aio.ServicerContext`."""
        return _Handler(self, identify)

    async def run(self) -> None:
        """Gives streams their turns and looks at deadlines, until cancelled."""
        ticker = asyncio.get_running_loop().create_task(self._tick(), name="xds ticks")
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                while (stream := self._next()) is not None:
                    self._compose(stream)
                    if self._ring and self._ring.turns % 32 == 0:
                        await asyncio.sleep(0)  # acknowledgements and REST go on during a storm
        finally:
            ticker.cancel()

    def _next(self) -> Stream | None:
        return self._ring.pop(with_loads=len(self._loading) < self._max_first_loads)

    def _end_load(self, *loads: tuple[Stream, Kind]) -> None:
        for each in loads:
            if self._loading.pop(each, None) is not None:
                self._work.set()

    def tell(self, stream: Stream, event: Event) -> None:
        """An event for a stream's machine; its commands are carried out at once."""
        if stream.end is not None:
            return
        try:
            self._carry_out(stream, stream.machine.handle(event, self._now()))
        except Exception:  # the named boundary "stream task": one stream's bug must not end others
            log.exception("stream failed", node=stream.node.id, peer=stream.peer.identity)
            self.finish(stream, Close(13, "internal error of the control plane; its log says more"))

    def finish(self, stream: Stream, close: Close) -> None:
        """Ends a stream; its own task does it."""
        if stream.end is None:
            stream.end = close
            self._ring.discard(stream)
            stream.wake.set()
            if stream.writing and stream.task is not None:
                stream.task.cancel()  # a client that does not read keeps the write waiting for ever

    # --- a stream's life ------------------------------------------------------------------------------------------

    async def serve(
        self, stream: Stream, requests: AsyncIterator[bytes], write: Callable[[bytes], Any]
    ) -> Close | None:
        """Runs one stream until either end closes it; None if the client did."""
        if len(self.streams) >= self._max_streams:
            self.refused_streams += 1
            return Close(14, RETRY_WORDS)
        self.streams.add(stream)
        stream.until = self._now() + int(MAX_AGE_MS * (0.8 + 0.4 * self._random()))
        stream.task = asyncio.current_task()
        reader = asyncio.get_running_loop().create_task(self._read(stream, requests), name="xds reader")
        try:
            while True:
                await stream.wake.wait()
                stream.wake.clear()
                if stream.end is not None:
                    return stream.end if stream.end.status else None
                if (message := stream.message) is not None:
                    stream.message = None
                    stream.writing = True
                    await write(message)
                    stream.writing = False
                    self.tell(stream, WriteFinished())
        except asyncio.CancelledError:
            if stream.end is None or not stream.writing or stream.task is None:
                raise
            stream.task.uncancel()  # it was `finish` that asked for it
            return stream.end if stream.end.status else None
        finally:
            reader.cancel()
            self._ring.discard(stream)
            self.streams.discard(stream)
            self._end_load(*[each for each in self._loading if each[0] is stream])
            if stream.timer is not None:
                stream.timer.cancel()
            if stream.opened:
                stream.opened = False
                self._owner.closed(stream)

    async def _read(self, stream: Stream, requests: AsyncIterator[bytes]) -> None:
        async for message in requests:
            self.tell(stream, RequestReceived(message))
            if stream.end is not None:
                return
        self.finish(stream, Close(0, ""))

    def _carry_out(self, stream: Stream, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Opened():
                    self._open(stream, command.node)
                case Work():
                    if stream.end is None:
                        self._ring.push(stream, command.urgency)
                        self._work.set()
                case Send():
                    if command.is_load:
                        self._loading[stream, command.kind] = self._now()
                    stream.message = command.message
                    stream.wake.set()
                case Demanded():
                    if stream.opened:
                        self._owner.demanded(stream, command)
                case Answered():
                    self._end_load((stream, command.kind))
                    self._owner.answered(stream, command)
                case HealthReported():
                    if stream.opened:
                        self._owner.health_reported(stream, command)
                case ApplicationReported():
                    if stream.opened:
                        self._owner.application_reported(stream, command)
                case UnknownType():
                    log.info("type is not served", node=stream.node.id, type=command.url)
                case SetTimer():
                    self._set_timer(stream, command.at)
                case Close():
                    log.warning(
                        "stream ended", node=stream.node.id, status=command.status, reason=command.reason
                    )
                    self.finish(stream, command)

    def _open(self, stream: Stream, node: Node) -> None:
        stream.node = node
        try:
            self._owner.opened(stream)
            stream.opened = True
        except RefusedStream as refusal:
            self.finish(stream, Close(refusal.status, refusal.reason))

    def _compose(self, stream: Stream) -> None:
        if stream.end is None and stream.message is None:
            self.tell(stream, TurnCame())

    def _set_timer(self, stream: Stream, at: int) -> None:
        if stream.timer is not None:
            stream.timer.cancel()
        delay = max(0, at - self._now()) / 1_000
        stream.timer = asyncio.get_running_loop().call_later(delay, self.tell, stream, Tick())

    def look_at_deadlines(self) -> None:
        """Of every stream: writes and verdicts that do not come, certificates and ages that have ended."""
        today, now = self._time_of_day(), self._now()
        self._end_load(*[each for each, since in self._loading.items() if now - since >= FIRST_LOAD_MS])
        for stream in list(self.streams):
            if stream.peer.expires and today >= stream.peer.expires + LEAF_GRACE_MS:
                words = "the certificate of this stream has expired; connect with the renewed one"
                self.finish(stream, Close(14, words))
            elif now >= stream.until:
                self.finish(stream, Close(14, AGED_WORDS))
            else:
                self.tell(stream, Tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.look_at_deadlines()


class _Handler(grpc.GenericRpcHandler):
    """Finds the method by its path; requests and responses stay bytes."""

    def __init__(self, server: XdsServer, identify: Callable[[Any], Peer]) -> None:
        self._server = server
        self._identify = identify

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        found = PATHS.get(details.method)
        if found is None:
            return None
        variant, kinds = found

        async def serve(requests: AsyncIterator[bytes], context: Any) -> None:
            server = self._server
            stream = Stream(server, next(server._numbers), self._identify(context), variant, kinds)
            try:
                end = await server.serve(stream, requests, context.write)
            except asyncio.CancelledError:
                return  # the client has gone, or the server stops: gRPC would log it as an error of ours
            if end is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ABORT_S):
                        await _abort(context, end)

        return grpc.stream_stream_rpc_method_handler(serve)


async def _abort(context: Any, end: Close) -> None:
    """Ends the call with a status. gRPC's core refuses it for a moment where the last write is not quite over."""
    while True:
        try:
            await context.abort(_CODES[end.status], end.reason)
        except grpc.aio.InternalError:
            await asyncio.sleep(ABORT_PAUSE_S)
        else:
            return
