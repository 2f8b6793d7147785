"""The server machine: one stream, ADS or a single service, of either variant.

In: events (`types`), the time in ms. Out: commands. Invariants: of each kind at most one response waits for its verdict; what
changes meanwhile is kept as names, so that a slow client holds no messages and gets the newest state; a refused version is not
sent again, any other is; nothing is sent before it has what it refers to, nothing taken away while the client needs it (`order`).
SotW: any nonce but the newest is stale. Delta: subscriptions always count, only the verdict of a stale nonce is ignored.

Called by `serve_grpcio`; the publisher gives it its view.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

from mainstay.xds import messages
from mainstay.xds.messages import DeltaRequest, SotwRequest
from mainstay.xds.server.channel import Channel
from mainstay.xds.server.compose import compose
from mainstay.xds.server.planner import Planner
from mainstay.xds.server.subscriptions import Change
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
    Refused,
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
from mainstay.xds.types import APPLICATION_URL, HEALTH_URL, KIND_OF_URL, TYPES, Kind, Variant

WRITE_MS = 30_000
"""Longest time without progress of a write."""
VERDICT_MS = 60_000
"""Longest time without a verdict on a response."""
URGENT, ENDPOINTS, CHANGES, FIRST_LOAD = range(4)

_INVALID_ARGUMENT = 3
_UNAVAILABLE = 14


class ServerStream:
    """See the module. `kinds` are those the stream may carry."""

    def __init__(self, variant: Variant, kinds: tuple[Kind, ...]) -> None:
        self._variant: Variant = variant
        self._channels: dict[Kind, Channel] = {kind: Channel(TYPES[kind]) for kind in kinds}
        self._sequence = sorted(kinds, key=lambda kind: (kind != "secret", TYPES[kind].order))
        self._view: View | None = None
        self._known = False
        self._planner = Planner(variant, self._channels)
        self._unknown: tuple[str, ...] = ()
        self._writing: int | None = None
        self._timer_at: int | None = None
        self._ended = False

    def handle(self, event: Event, now: int) -> list[Command]:
        """The next step."""
        out: list[Command] = []
        if self._ended:
            return out
        match event:
            case RequestReceived():
                self._request(event.message, out)
            case ViewChanged():
                self._change_view(event.view, event.names)
            case TurnCame():
                self._take_turn(now, out)
                return out
            case WriteFinished():
                self._writing = None
            case Tick():
                self._timer_at = None
                self._check_patience(now, out)
        self._ended = any(isinstance(command, Close) for command in out)
        urgency = self._urgency()
        if urgency is not None and not self._ended:
            out.append(Work(urgency))
        return out

    def status(self) -> dict[Kind, KindStatus]:
        """What is applied, pending, refused, for each kind asked for."""
        return {
            kind: KindStatus(
                len(channel.ledger.taken),
                len(channel.dirty)
                + (len(channel.ledger.under_way.sent) if channel.ledger.under_way is not None else 0),
                tuple(channel.ledger.refused[name] for name in sorted(channel.ledger.refused)),
                channel.subscriptions.wildcard,
                tuple(sorted(channel.subscriptions.names)),
            )
            for kind, channel in self._channels.items()
            if channel.subscriptions.started
        }

    def applied(self, kind: Kind) -> Mapping[str, Resource]:
        """What the proxy has taken, by name; of what it brought along and is not ours, the version alone."""
        return self._channels[kind].ledger.taken if kind in self._channels else {}

    # --- requests -------------------------------------------------------------------------------------------------

    def _request(self, data: bytes, out: list[Command]) -> None:
        request: SotwRequest | DeltaRequest
        try:
            request = (
                messages.decode_sotw_request(data)
                if self._variant == "sotw"
                else messages.decode_delta_request(data)
            )
        except ValueError as error:
            out.append(Close(_INVALID_ARGUMENT, f"the request cannot be read: {error}"))
            return
        if not self._known:
            if request.node is None or not request.node.id:
                out.append(Close(_INVALID_ARGUMENT, "the first request of a stream has to carry its node"))
                return
            self._known = True
            out.append(Opened(request.node))
        if request.url == HEALTH_URL:
            out.append(HealthReported(request.error is None, request.error or ""))
            return
        if request.url == APPLICATION_URL:
            told = request.names if isinstance(request, SotwRequest) else request.subscribe
            out.append(ApplicationReported(told[0] if told else ""))
            return
        channel = self._channel_of(request.url)
        if channel is None:
            if request.url not in self._unknown and len(self._unknown) < 100:
                self._unknown += (request.url,)
                out.append(UnknownType(request.url))
        elif isinstance(request, SotwRequest):
            self._request_sotw(channel, request, out)
        else:
            self._request_delta(channel, request, out)

    def _channel_of(self, url: str) -> Channel | None:
        """The kind of a request; a single service's may leave it out."""
        if not url and len(self._channels) == 1:
            return next(iter(self._channels.values()))
        kind = KIND_OF_URL.get(url)
        return self._channels.get(kind) if kind is not None else None

    def _request_sotw(self, channel: Channel, request: SotwRequest, out: list[Command]) -> None:
        first = not channel.subscriptions.started
        if request.nonce and request.nonce != channel.ledger.last_nonce and not first:
            return
        if request.nonce and not first:
            self._take_verdict(channel, request.error, out)
        if first:
            channel.resumes = request.version
            self._planner.is_resumed |= bool(request.version)
        change = channel.subscriptions.take_sotw(channel.row, request)
        channel.owed = channel.owed or (first and channel.row.full_state)
        self._apply(channel, change, out)

    def _request_delta(self, channel: Channel, request: DeltaRequest, out: list[Command]) -> None:
        first = not channel.subscriptions.started
        under_way = channel.ledger.under_way
        if under_way is not None and request.nonce == under_way.nonce:
            self._take_verdict(channel, request.error, out)
        if not first and not request.subscribe and not request.unsubscribe:
            return
        change = channel.subscriptions.take_delta(channel.row, request)
        if first:
            held = {
                name: version for name, version in request.held.items() if channel.subscriptions.covers(name)
            }
            channel.ledger.claim(held)
            channel.dirty.update(dict.fromkeys(held))
            self._planner.is_resumed |= bool(held)
        channel.owed = channel.owed or (change.began_wildcard and not channel.ledger.taken)
        self._apply(channel, change, out)

    def _take_verdict(self, channel: Channel, error: str | None, out: list[Command]) -> None:
        refused: tuple[Refused, ...] = ()
        under_way = channel.ledger.under_way
        if under_way is None:
            return
        if error is None:
            channel.ledger.accept()
        else:
            refused = channel.ledger.refuse(error)
        names = {each.name for each in refused}
        accepted = tuple(
            (name, resource.version)
            for name, resource in under_way.sent.items()
            if resource is not None and name not in names
        )
        removed = tuple(name for name, resource in under_way.sent.items() if resource is None)
        out.append(Answered(channel.row.kind, accepted, removed, refused))

    def _apply(self, channel: Channel, change: Change, out: list[Command]) -> None:
        left = list(change.left)
        if change.left_wildcard:
            left += [name for name in channel.ledger.taken if not channel.subscriptions.covers(name)]
        for name in left:
            channel.ledger.forget(name)
            channel.settle(name)
        channel.asked.update(dict.fromkeys(change.asked))
        channel.dirty.update(dict.fromkeys(change.asked))
        if change.began_wildcard and self._view is not None:
            channel.dirty.update(dict.fromkeys(self._view.names(channel.row.kind)))
        if change.added or change.left:
            out.append(Demanded(channel.row.kind, change.added, change.left))

    # --- views ----------------------------------------------------------------------------------------------------

    def _change_view(self, view: View, names: Mapping[Kind, Collection[str]] | None) -> None:
        known, self._view = self._view is not None, view
        for kind, channel in self._channels.items():
            covers = channel.subscriptions.covers
            if names is not None and known:
                channel.dirty.update((name, None) for name in names.get(kind, ()) if covers(name))
                continue
            candidates = (
                channel.subscriptions.names | channel.ledger.taken.keys() | channel.ledger.refused.keys()
            )
            if channel.ledger.under_way is not None:
                candidates |= channel.ledger.under_way.sent.keys()
            if channel.subscriptions.wildcard:
                candidates |= set(view.names(kind))
            channel.dirty.update((name, None) for name in candidates if self._may_differ(channel, name))

    def _may_differ(self, channel: Channel, name: str) -> bool:
        assert self._view is not None
        current, have = channel.current(self._view, name), channel.ledger.taken.get(name)
        under_way = channel.ledger.under_way
        if name in channel.ledger.refused or (under_way is not None and name in under_way.sent):
            return True
        if current is None or have is None:
            return current is not have
        return current.version != have.version

    # --- turns ----------------------------------------------------------------------------------------------------

    def _urgency(self) -> int | None:
        """The class of the most urgent work; None if there is none, or the last message is not out yet."""
        if self._view is None or self._writing is not None:
            return None
        classes = [self._class_of(channel) for channel in self._channels.values() if channel.has_work]
        return min(classes, default=None)

    def _class_of(self, channel: Channel) -> int:
        if channel.row.kind == "secret":
            return URGENT
        if not channel.ledger.last_nonce:
            return FIRST_LOAD
        if channel.row.kind != "endpoint":
            return CHANGES
        return URGENT if self._takes_away(channel) else ENDPOINTS

    def _takes_away(self, channel: Channel) -> bool:
        """Whether endpoints have gone, as far as a glance shows (the resource became shorter)."""
        assert self._view is not None
        for name in itertools.islice(channel.dirty, 8):
            current, have = self._view.get("endpoint", name), channel.ledger.taken.get(name)
            if have is not None and (current is None or len(current.body) < len(have.body)):
                return True
        return False

    def _take_turn(self, now: int, out: list[Command]) -> None:
        view = self._view
        if view is None or self._writing is not None:
            return
        due: list[int] = []
        for kind in self._sequence:
            channel = self._channels[kind]
            if not channel.has_work:
                continue
            plan = self._planner.plan(view, channel, now, due)
            if plan is None:
                continue
            sent: dict[str, Resource | None] = {each.name: each for each in plan.upserts}
            sent.update(dict.fromkeys(plan.removals))
            for name in sent:
                channel.settle(name)
            channel.shrink()
            channel.owed = False
            is_load = self._class_of(channel) == FIRST_LOAD
            nonce = channel.ledger.begin(sent, now)
            out.append(Send(kind, compose(self._variant, channel.row, plan, nonce), is_load))
            self._writing = now
            break
        nearest = min(due, default=None)
        if nearest is not None and (self._timer_at is None or nearest < self._timer_at):
            self._timer_at = nearest
            out.append(SetTimer(nearest))

    # --- patience -------------------------------------------------------------------------------------------------

    def _check_patience(self, now: int, out: list[Command]) -> None:
        if self._writing is not None and now - self._writing >= WRITE_MS:
            out.append(Close(_UNAVAILABLE, f"the proxy did not read for {WRITE_MS // 1_000} s"))
            return
        for kind, channel in self._channels.items():
            under_way = channel.ledger.under_way
            if under_way is not None and now - under_way.since >= VERDICT_MS:
                words = f"the proxy did not answer a response of {kind}s within {VERDICT_MS // 1_000} s"
                out.append(Close(_UNAVAILABLE, words))
                return
