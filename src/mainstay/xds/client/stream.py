"""The client machine: one ADS stream (or a single service's) from its first attempt to its end, over all reconnects.

In: events (`types`), the time in ms. Out: commands, in order. Invariants: every response is answered once, after its verdict,
by ACK or by a NACK that names each refused resource on a line of its own; what was refused keeps its last good version; what is
wanted survives reconnects, and versions held are told to the next server, so that a resume brings differences only.
Kinds are independent of each other here; the sidecar orders and warms what it gets.

Called by the sidecar's loop, which carries the commands out over the engine. Loads neither asyncio nor gRPC.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

from mainstay.model.digest import digest_of_bytes
from mainstay.xds import messages
from mainstay.xds.client.backoff import REFUSED_BASE_MS, REFUSED_CAP_MS, Backoff
from mainstay.xds.client.types import (
    ApplicationChanged,
    Cancel,
    Closed,
    Command,
    Event,
    HealthChanged,
    Judged,
    Lost,
    Missing,
    Moved,
    Offer,
    Offered,
    Open,
    Received,
    Refusal,
    Send,
    SetTimer,
    Started,
    Stopped,
    TimerFired,
    Wanted,
)
from mainstay.xds.messages import Response
from mainstay.xds.types import (
    APPLICATION_URL,
    HEALTH_URL,
    KIND_OF_URL,
    ORDER,
    TYPES,
    WILDCARD,
    Kind,
    Variant,
    path,
)

REFUSALS = frozenset({3, 7, 12, 16})
"""gRPC statuses that no repetition changes: INVALID_ARGUMENT, PERMISSION_DENIED, UNIMPLEMENTED, UNAUTHENTICATED."""

STEADY_MS = 60_000
"""A stream that lasted so long is not one of a row of failures."""
INTERNAL = 13
"""gRPC status with which we report a stream that we ended ourselves, since its bytes made no sense."""


class _Unjudged:
    """An offer without a verdict yet. `stream` says on which connection it came: a verdict that comes later than the
    connection's end still counts, but is told to nobody."""

    __slots__ = ("kind", "nonce", "removals", "stream", "upserts", "version")

    def __init__(
        self,
        kind: Kind,
        stream: int,
        nonce: str,
        version: str,
        upserts: dict[str, str],
        removals: tuple[str, ...],
    ) -> None:
        self.kind = kind
        self.stream = stream
        self.nonce = nonce
        self.version = version
        self.upserts = upserts
        self.removals = removals


class _Channel:
    """One kind: what is wanted and held for good, and what this stream's server has been told."""

    __slots__ = (
        "asked",
        "deadlines",
        "held",
        "names",
        "newest",
        "nonce",
        "started",
        "version",
        "versioned",
        "wait",
        "wildcard",
    )

    def __init__(self, held: Mapping[str, str]) -> None:
        self.names: frozenset[str] = frozenset()
        self.wildcard = False
        self.wait = 0
        self.held: dict[str, str] = dict(held)
        self.newest: dict[str, int] = {}
        """Names of offers that are not all judged yet → the newest offer that tells of them: it counts, whichever verdict
        comes first."""
        self.version = ""
        self.versioned = 0
        """The offer that `version` is of."""
        # Of this stream:
        self.started = False
        self.asked: frozenset[str] = frozenset()
        self.nonce = ""
        self.deadlines: dict[str, int] = {}

    @property
    def wish(self) -> frozenset[str]:
        """What the server should have as our subscription, the wildcard spelled out."""
        return self.names | {WILDCARD} if self.wildcard else self.names

    def forget_stream(self) -> None:
        self.started = False
        self.asked = frozenset()
        self.nonce = ""
        self.deadlines.clear()

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names


class ClientStream:
    """See the module. `node` is a serialised `envoy.config.core.v3.Node` (`messages.encode_node`); `held` are versions kept
    from an earlier run, by kind and name; `random` gives numbers in [0, 1); `kind` chooses that kind's own service, None
    ADS; `tokens` numbers the offers, where several streams share those numbers; `node_always` tells the node in each request,
    for servers that do not remember it (Envoy's way, unless `set_node_on_first_message_only`)."""

    def __init__(
        self,
        node: bytes,
        random: Callable[[], float],
        *,
        variant: Variant = "delta",
        kind: Kind | None = None,
        held: Mapping[Kind, Mapping[str, str]] | None = None,
        tokens: Callable[[], int] | None = None,
        node_always: bool = False,
    ) -> None:
        self._node = node
        self._node_always = node_always
        self._variant: Variant = variant
        self._path = path(variant, kind)
        self._backoff = Backoff(random)
        self._refused_backoff = Backoff(random, REFUSED_BASE_MS, REFUSED_CAP_MS, floor=0.5)
        self._channels: dict[Kind, _Channel] = {
            each: _Channel((held or {}).get(each, {})) for each in (ORDER if kind is None else (kind,))
        }
        self._unjudged: dict[int, _Unjudged] = {}
        self._next_token = tokens if tokens is not None else itertools.count(1).__next__
        self._streams = 0
        self._running = False
        self._open = False
        self._opened_at = 0
        self._node_sent = False
        self._retry_at: int | None = None
        self._timer_at: int | None = None
        self._health: HealthChanged | None = None
        self._application: ApplicationChanged | None = None

    @property
    def connected(self) -> bool:
        """Whether a stream is open, as far as we know."""
        return self._open

    def held(self, kind: Kind) -> Mapping[str, str]:
        """Versions of what was taken, by name."""
        return self._channels[kind].held

    def handle(self, event: Event, now: int) -> list[Command]:
        """The next step."""
        out: list[Command] = []
        match event:
            case Started():
                self._running = True
                if not self._open and self._retry_at is None:
                    self._connect(now, out)
            case Wanted():
                self._want(event, now, out)
            case Received() if self._open:
                self._receive(event.message, now, out)
            case Judged():
                self._judge(event, out)
            case Closed() if self._open:
                self._lose(event.status, event.message, now, out)
            case Moved() if self._open:
                self._forget_stream()
                self._connect(now, out)
            case HealthChanged():
                self._health = event
                if self._open:
                    self._report_health(out)
            case ApplicationChanged():
                self._application = event
                if self._open:
                    self._tell_application(out)
            case TimerFired():
                self._timer_at = None
                self._on_time(now, out)
            case Stopped():
                if self._open:
                    out.append(Cancel())
                self._running = self._open = False
                self._retry_at = None
                self._forget_stream()
            case _:
                pass  # bytes or the end of a call that we have given up
        self._arm(out)
        return out

    # --- the connection -------------------------------------------------------------------------------------------

    def _connect(self, now: int, out: list[Command]) -> None:
        self._retry_at = None
        self._open = True
        self._opened_at = now
        self._streams += 1
        out.append(Open(self._path))
        for kind, channel in self._channels.items():
            self._ask(kind, channel, now, out)
        # Before the health: what is withdrawn or unhealthy must not be an endpoint for a moment.
        self._tell_application(out)
        self._report_health(out)

    def _lose(self, status: int, words: str, now: int, out: list[Command]) -> None:
        self._open = False
        self._forget_stream()
        if now - self._opened_at >= STEADY_MS:
            self._backoff.reset()  # a resumed stream may have had nothing to say for as long as it lasted
        refused = status in REFUSALS
        backoff = self._refused_backoff if refused else self._backoff
        self._retry_at = now + backoff.next_delay()
        out.append(Lost(status, words, self._retry_at, refused))

    def _forget_stream(self) -> None:
        self._node_sent = False
        for channel in self._channels.values():
            channel.forget_stream()

    def _on_time(self, now: int, out: list[Command]) -> None:
        if self._retry_at is not None and self._retry_at <= now and self._running:
            self._connect(now, out)
        for kind, channel in self._channels.items():
            late = tuple(sorted(name for name, at in channel.deadlines.items() if at <= now))
            if late:
                for name in late:
                    del channel.deadlines[name]
                out.append(Missing(kind, late))

    def _arm(self, out: list[Command]) -> None:
        deadlines = [at for channel in self._channels.values() for at in channel.deadlines.values()]
        if self._retry_at is not None:
            deadlines.append(self._retry_at)
        nearest = min(deadlines, default=None)
        if nearest is not None and nearest != self._timer_at:
            out.append(SetTimer(nearest))
            self._timer_at = nearest

    # --- asking ---------------------------------------------------------------------------------------------------

    def _want(self, wanted: Wanted, now: int, out: list[Command]) -> None:
        channel = self._channels[wanted.kind]
        channel.names, channel.wildcard, channel.wait = wanted.names, wanted.wildcard, wanted.wait
        if not channel.wildcard:
            for name in channel.held.keys() - channel.names:
                del channel.held[name]
        if self._open:
            self._ask(wanted.kind, channel, now, out)

    def _ask(self, kind: Kind, channel: _Channel, now: int, out: list[Command]) -> None:
        """Tells the server of the difference between what is wanted and what it knows."""
        wish, asked = channel.wish, channel.asked
        if wish == asked or (not channel.started and not wish):
            return  # nothing to say; an empty first request would be taken for a wildcard
        channel.asked = wish
        added = wish - asked - {WILDCARD}
        if channel.wait:
            unknown = added - channel.held.keys()  # a server that resumes says nothing of what is held
            channel.deadlines.update((name, now + channel.wait) for name in unknown)
        for name in asked - wish:
            channel.deadlines.pop(name, None)
        url, node = TYPES[kind].url, self._take_node()
        if self._variant == "sotw":
            if self._is_judging(kind):
                return  # a request with its nonce would be taken for the verdict, which is to come and carries the names
            names = self._sotw_names(channel)
            out.append(Send(messages.encode_sotw_request(url, channel.version, names, channel.nonce, node)))
        else:
            first = not channel.started
            plain = first and wish == {WILDCARD}  # an empty first request is the wildcard every server knows
            out.append(
                Send(
                    messages.encode_delta_request(
                        url,
                        () if plain else sorted(wish - asked),
                        sorted(asked - wish),
                        self._known(kind) if first else {},
                        "",
                        node,
                    )
                )
            )
        channel.started = True

    def _is_judging(self, kind: Kind) -> bool:
        """Whether a response of this stream waits for its verdict."""
        return any(offer.kind == kind and offer.stream == self._streams for offer in self._unjudged.values())

    @staticmethod
    def _sotw_names(channel: _Channel) -> list[str]:
        """A bare wildcard is spelled as the empty list, which every server knows."""
        return [] if channel.asked == {WILDCARD} else sorted(channel.asked)

    def _take_node(self) -> bytes:
        """The node, once a stream: the server remembers it, or has to be told always."""
        if self._node_sent and not self._node_always:
            return b""
        self._node_sent = True
        return self._node

    def _report_health(self, out: list[Command]) -> None:
        if self._health is None:
            return
        error = None if self._health.healthy else (self._health.reason or "unhealthy")
        node = self._take_node()
        if self._variant == "sotw":
            message = messages.encode_sotw_request(HEALTH_URL, "", (), "", node, error)
        else:
            message = messages.encode_delta_request(HEALTH_URL, (), (), {}, "", node, error)
        out.append(Send(message))

    def _tell_application(self, out: list[Command]) -> None:
        if self._application is None:
            return
        node, told = self._take_node(), (self._application.text,)
        if self._variant == "sotw":
            message = messages.encode_sotw_request(APPLICATION_URL, "", told, "", node)
        else:
            message = messages.encode_delta_request(APPLICATION_URL, told, (), {}, "", node)
        out.append(Send(message))

    # --- answers --------------------------------------------------------------------------------------------------

    def _receive(self, data: bytes, now: int, out: list[Command]) -> None:
        try:
            response = messages.decode_response(self._variant, data)
        except ValueError as error:
            out.append(Cancel())
            self._lose(INTERNAL, f"the server's response cannot be read: {error}", now, out)
            return
        self._backoff.reset()
        self._refused_backoff.reset()
        kind = KIND_OF_URL.get(response.url)
        channel = self._channels.get(kind) if kind is not None else None
        if kind is None or channel is None or not channel.started:
            return  # an answer to no question of ours: there is no subscription whose nonce it could carry
        channel.nonce = response.nonce
        twice = _repeated(entry.name for entry in response.resources)
        fault = response.fault or (f"{twice}: is in the response twice" if twice is not None else "")
        if fault:
            self._answer(kind, channel, response.nonce, fault, out)
            return
        self._offer(kind, channel, response, out)

    def _offer(self, kind: Kind, channel: _Channel, response: Response, out: list[Command]) -> None:
        upserts: dict[str, Offer] = {}
        for entry in response.resources:
            channel.deadlines.pop(entry.name, None)
            if entry.body is None or not channel.wants(entry.name):
                continue
            version = entry.version or digest_of_bytes(entry.body).hex()
            if channel.held.get(entry.name) != version or entry.name in channel.newest:
                upserts[entry.name] = Offer(entry.name, version, entry.body)
        removals = response.removed
        if self._variant == "sotw" and TYPES[kind].full_state:
            present = {entry.name for entry in response.resources}
            removals = tuple(sorted((channel.held.keys() | channel.newest.keys()) - present))
        for name in removals:
            channel.deadlines.pop(name, None)
        removals = tuple(name for name in removals if name not in upserts)
        token = self._next_token()
        channel.newest.update(dict.fromkeys((*upserts, *removals), token))
        self._unjudged[token] = _Unjudged(
            kind,
            self._streams,
            response.nonce,
            response.version,
            {name: offer.version for name, offer in upserts.items()},
            removals,
        )
        out.append(Offered(token, kind, tuple(upserts.values()), removals))

    def _known(self, kind: Kind) -> dict[str, str]:
        """Versions held, and those that were handed on and have no verdict yet: a server that does not know of these would never
        tell of their removal."""
        known = dict(self._channels[kind].held)
        for offer in self._unjudged.values():
            if offer.kind == kind:
                known.update(offer.upserts)
                for name in offer.removals:
                    known.pop(name, None)
        return known

    def _judge(self, verdict: Judged, out: list[Command]) -> None:
        offer = self._unjudged.pop(verdict.token, None)
        if offer is None:
            return
        channel = self._channels[offer.kind]
        refused = {refusal.name for refusal in verdict.refused}
        newest = channel.newest
        for name, version in offer.upserts.items():
            if name not in refused and channel.wants(name) and newest[name] == verdict.token:
                channel.held[name] = version
        for name in offer.removals:
            if newest[name] == verdict.token:
                channel.held.pop(name, None)
        if not refused and verdict.token > channel.versioned:
            channel.version, channel.versioned = offer.version, verdict.token
        if not any(other.kind == offer.kind for other in self._unjudged.values()):
            newest.clear()
        if self._open and offer.stream == self._streams:
            self._answer(offer.kind, channel, offer.nonce, _words(verdict.refused), out)

    def _answer(
        self, kind: Kind, channel: _Channel, nonce: str, error: str | None, out: list[Command]
    ) -> None:
        url, node = TYPES[kind].url, self._take_node()
        if self._variant == "sotw":
            message = messages.encode_sotw_request(
                url, channel.version, self._sotw_names(channel), nonce, node, error
            )
        else:
            message = messages.encode_delta_request(url, (), (), {}, nonce, node, error)
        out.append(Send(message))


def _words(refused: Iterable[Refusal]) -> str | None:
    """The text of a NACK: a line per resource, beginning with its name; None if nothing was refused."""
    lines = [
        f"{one.name}: {one.path}: {one.reason}" if one.path else f"{one.name}: {one.reason}"
        for one in refused
    ]
    return "\n".join(line.replace("\n", " ") for line in lines) if lines else None


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
