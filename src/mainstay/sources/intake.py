"""Where all sources' batches meet: bounded by keys, guarded against vanishing registries, read in turns.

In: batches, at any rate. Out: the newest change per key, a share of each source at a time. Invariants: memory
is bounded by keys, not by events, since a newer change of a key replaces the unread one; a source with more
than `MAX_UNREAD` unread keys waits; a listing that would empty a group (all, or more than half of at least
four) is held for `hold_ms`, counted and shown, while explicit removals are not. The control loop reads it;
sources write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable

import msgspec

from mainstay.graph import Cause
from mainstay.sources.contract import Batch, Change, Clock, Health, Refuse, Remove, State, Upsert

MAX_UNREAD = 10_000
"""Unread changes of one source beyond which it waits."""
TURN_CHANGES = 1_000
"""Changes taken from one source before the next has its turn."""
HOLD_MS = 30_000
HOLD_LEAST = 4
"""Groups of fewer keys are never held: half of three is one instance stopping."""


class Taken(msgspec.Struct, frozen=True):
    """One change, ready for the graph."""

    source: str
    change: Change
    cause: Cause


class _Feed:
    """What is known of one source."""

    def __init__(self, now: int) -> None:
        self.epoch = 0
        self.complete = -1
        self.was_read = False
        """A whole listing has been read once; what comes later does not change that."""
        self.keys: dict[Hashable, int] = {}
        self.refused: dict[Hashable, int] = {}
        self.held: dict[Hashable, int] = {}
        self.unread: dict[tuple[bool, Hashable], Taken] = {}
        self.room = asyncio.Event()
        self.room.set()
        self.state: State = "starting"
        self.since = now
        self.reason = ""

    def note_read(self) -> None:
        """Looks whether a listing has been read to its end."""
        self.was_read = self.was_read or (self.complete >= 0 and not self.unread)


class Intake:
    """Implements `Sink` for all sources. `group_of(source, key)` names what a listing must not empty (a
    service), or None. `wake` is called when there is something to read."""

    def __init__(
        self,
        sources: Iterable[str],
        clock: Clock,
        wake: Callable[[], None],
        group_of: Callable[[str, Hashable], Hashable | None] = lambda _source, _key: None,
        hold_ms: int = HOLD_MS,
    ) -> None:
        self._clock = clock
        self._wake = wake
        self._group_of = group_of
        self._hold_ms = hold_ms
        self._feeds = {source: _Feed(clock.now()) for source in sources}
        self._turn = 0
        self.holds = 0

    async def put(self, batch: Batch) -> None:
        feed = self._feeds[batch.source]
        await feed.room.wait()
        self.take_in(batch)

    def take_in(self, batch: Batch) -> None:
        """What `put` does, for callers that cannot wait (registrations, which are bounded by streams)."""
        feed = self._feeds[batch.source]
        if batch.epoch < feed.epoch:
            return  # a late batch of a listing that was superseded
        feed.epoch = batch.epoch
        for change in batch.changes:
            self._enter(batch, feed, change)
        if batch.synced:
            if feed.complete < batch.epoch:
                self._end_listing(batch, feed)
                feed.note_read()
            self.set_state(batch.source, "synced")
        if len(feed.unread) > MAX_UNREAD:
            feed.room.clear()
        self._wake()

    def set_state(self, source: str, state: State, reason: str = "") -> None:
        """A source that has known something is never `failed`, only `stale`."""
        feed = self._feeds[source]
        if state == "failed" and feed.complete >= 0:
            state = "stale"
        if (feed.state, feed.reason) != (state, reason):
            if feed.state != state:
                feed.since = self._clock.now()
            feed.state, feed.reason = state, reason
            self._wake()

    def next_epoch(self, source: str) -> int:
        """The number for a source's next full listing."""
        return self._feeds[source].epoch + 1

    def health(self) -> list[Health]:
        """One for each source, in the order of precedence."""
        return [Health(name, feed.state, feed.since, feed.reason) for name, feed in self._feeds.items()]

    def is_synced(self) -> bool:
        """Whether every source has sent one whole listing, and all of it was read: before, nothing may be
        pushed."""
        return all(feed.was_read for feed in self._feeds.values())

    def held_keys(self, source: str) -> list[Hashable]:
        """Keys that the last listing lacked and that are still kept."""
        return list(self._feeds[source].held)

    def next_deadline(self) -> int | None:
        """When held keys have to be looked at again (ms of the clock)."""
        return min((until for feed in self._feeds.values() for until in feed.held.values()), default=None)

    def take(self) -> list[Taken]:
        """Up to `TURN_CHANGES` of each source, beginning with another source each time."""
        now = self._clock.now()
        names = list(self._feeds)
        self._turn = (self._turn + 1) % max(1, len(names))
        taken: list[Taken] = []
        for name in names[self._turn :] + names[: self._turn]:
            feed = self._feeds[name]
            self._release_held(name, feed, now)
            for place in list(feed.unread)[:TURN_CHANGES]:
                taken.append(feed.unread.pop(place))
            if len(feed.unread) <= MAX_UNREAD:
                feed.room.set()
            feed.note_read()
        return taken

    @property
    def has_unread(self) -> bool:
        return any(feed.unread for feed in self._feeds.values())

    def _enter(self, batch: Batch, feed: _Feed, change: Change) -> None:
        if isinstance(change, Refuse):
            if change.problems:
                feed.refused[change.place] = batch.epoch
                if change.place in feed.keys:
                    feed.keys[change.place] = batch.epoch  # its last good fact stays, also over a listing
                    feed.held.pop(change.place, None)
            elif feed.refused.pop(change.place, None) is None:
                return
            self._queue(batch, feed, change, change.place, "")
            return
        feed.held.pop(change.key, None)
        if feed.refused.pop(change.key, None) is not None:
            self._queue(batch, feed, Refuse(change.key, ()), change.key, "")
        if isinstance(change, Upsert):
            feed.keys[change.key] = batch.epoch
        elif feed.keys.pop(change.key, None) is None:
            return
        self._queue(batch, feed, change, change.key, change.who)

    def _queue(self, batch: Batch, feed: _Feed, change: Change, place: Hashable, who: str) -> None:
        named = "" if isinstance(change, Refuse) else change.object
        cause = Cause(batch.source, named or str(place), batch.revision, who)
        feed.unread[(isinstance(change, Refuse), place)] = Taken(batch.source, change, cause)

    def _end_listing(self, batch: Batch, feed: _Feed) -> None:
        feed.complete = batch.epoch
        for place in [place for place, epoch in feed.refused.items() if epoch < batch.epoch]:
            self._enter(batch, feed, Refuse(place, ()))
        gone = [key for key, epoch in feed.keys.items() if epoch < batch.epoch]
        if not gone:
            return
        sizes: dict[Hashable, list[int]] = {}
        gone_keys = set(gone)
        for key in feed.keys:
            group = self._group_of(batch.source, key)
            if group is not None:
                size = sizes.setdefault(group, [0, 0])
                size[0] += 1
                size[1] += key in gone_keys
        until = self._clock.now() + self._hold_ms
        for key in gone:
            size = sizes.get(self._group_of(batch.source, key), [0, 0])
            if size[0] >= HOLD_LEAST and size[1] * 2 > size[0]:
                if key not in feed.held:
                    feed.held[key] = until
                    self.holds += 1
            else:
                self._enter(batch, feed, Remove(key))

    def _release_held(self, source: str, feed: _Feed, now: int) -> None:
        for key in [key for key, until in feed.held.items() if until <= now]:
            self._enter(Batch(source, feed.epoch, ()), feed, Remove(key))
