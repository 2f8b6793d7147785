"""What to send next of one kind: which names, in which order, and which have to wait.

In: a view, the channels of a stream, the time in ms. Out: a `Plan`, and the times at which waiting ends. Invariants: names
that have to wait stay dirty; removals come last; the first answer comes whole. Called by `stream` when the stream's turn has
come.
"""

from __future__ import annotations

from collections.abc import Mapping

from mainstay.xds.server.channel import Channel
from mainstay.xds.server.compose import Plan
from mainstay.xds.server.ledger import Claimed
from mainstay.xds.server.order import NOW, wait_of_upsert, waits_of_removals
from mainstay.xds.server.types import Resource, View
from mainstay.xds.types import Kind, Variant

CUT_BYTES = 512 * 1024
"""Messages are cut at this size, where the variant allows it."""

_SETTLED: Resource = Claimed("", "")
"""Stands for: nothing has to be said."""


class Planner:
    """See the module. `is_resumed`: the client brought something along, so it may work with more than was asked for yet."""

    def __init__(self, variant: Variant, channels: Mapping[Kind, Channel]) -> None:
        self._variant: Variant = variant
        self._channels = channels
        self.is_resumed = False

    def plan(self, view: View, channel: Channel, now: int, due: list[int]) -> Plan | None:
        """What to send of one kind now; None for nothing. Names that have to wait stay dirty."""
        if self._resumes_unchanged(view, channel):
            return None
        upserts: list[Resource] = []
        removals: list[str] = []
        size, waiting = 0, False
        for name in sorted(channel.dirty):
            resource = self._pending(view, channel, name)
            if resource is None:
                removals.append(name)
                continue
            if resource is _SETTLED:
                channel.settle(name)
                continue
            wait = wait_of_upsert(self._channels, view, channel.row.kind, resource)
            if self._is_held(channel, name, wait, now, due):
                waiting = waiting or wait is not None
            elif size + len(resource.body) > CUT_BYTES and upserts and not self._is_whole(channel):
                removals.clear()  # they come last, with the rest
                break
            else:
                size += len(resource.body)
                upserts.append(resource)
        if channel.owed and waiting:
            return None  # the first answer comes whole
        removals = self._ready_removals(channel, removals, now, due)
        if self._variant == "sotw" and not channel.row.full_state:
            self._drop_silently(channel, removals)
            removals = []
        if not upserts and not removals and not channel.owed:
            return None
        listed = self._list_all(channel, upserts, removals) if self._is_whole(channel) else upserts
        return Plan(tuple(upserts), tuple(removals), tuple(listed))

    def _pending(self, view: View, channel: Channel, name: str) -> Resource | None:
        """What is to be sent of a name: a resource, None for a removal, `_SETTLED` for nothing."""
        if not channel.subscriptions.covers(name):
            return _SETTLED
        current, have = channel.current(view, name), channel.ledger.taken.get(name)
        if current is None:
            channel.ledger.refused.pop(name, None)
            return None if have is not None or name in channel.asked else _SETTLED
        if have is not None and have.version == current.version:
            channel.ledger.refused.pop(name, None)
            channel.ledger.confirm(current)
            if isinstance(have, Claimed):  # it was asked for in order to resume
                return _SETTLED
        return current if name in channel.asked or channel.ledger.is_new(current) else _SETTLED

    def _is_held(self, channel: Channel, name: str, wait: int | None, now: int, due: list[int]) -> bool:
        if wait == NOW:
            return False
        since = channel.held.setdefault(name, now)
        if wait is None:
            return True
        if now - since >= wait:
            return False
        due.append(since + wait)
        return True

    def _ready_removals(self, channel: Channel, names: list[str], now: int, due: list[int]) -> list[str]:
        if not names:
            return names
        for_all, of_name = waits_of_removals(self._channels, channel.row.kind, self.is_resumed)
        ready: list[str] = []
        for name in names:
            wait: int | None = NOW
            if name in channel.ledger.taken:
                wait = of_name.get(name, NOW)
                wait = None if wait is None else max(wait, for_all)
            if not self._is_held(channel, name, wait, now, due):
                ready.append(name)
        return ready

    @staticmethod
    def _drop_silently(channel: Channel, names: list[str]) -> None:
        """In SotW, of a kind without full state, nothing can say that a resource has gone."""
        for name in names:
            channel.ledger.taken.pop(name, None)
            channel.settle(name)

    def _is_whole(self, channel: Channel) -> bool:
        return self._variant == "sotw" and channel.row.full_state

    @staticmethod
    def _list_all(channel: Channel, upserts: list[Resource], removals: list[str]) -> list[Resource]:
        """All that a SotW response of full state has to hold: what is new, and what the client works with and may keep."""
        listed = {**channel.ledger.taken, **{each.name: each for each in upserts}}
        for name in removals:
            listed.pop(name, None)
        return [listed[name] for name in sorted(listed) if channel.subscriptions.covers(name)]

    def _resumes_unchanged(self, view: View, channel: Channel) -> bool:
        """Whether a SotW client came with the very state that it would be sent: nothing has to be said then."""
        version, channel.resumes = channel.resumes, ""
        wanted = channel.subscriptions
        if not version or not channel.owed or not wanted.wildcard or wanted.names:
            return False
        found = [view.get(channel.row.kind, name) for name in sorted(view.names(channel.row.kind))]
        listed = tuple(each for each in found if each is not None)
        if Plan((), (), listed).version != version:
            return False
        for each in listed:
            channel.ledger.confirm(each)
        channel.owed = False
        channel.dirty.clear()
        return True
