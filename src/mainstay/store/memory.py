"""A store that lives as long as its process: for tests and for `mainstay up` without state.

In, out and invariants: `contract`. A lock makes it safe for several threads.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence

from mainstay.store.contract import (
    LOG_REVISIONS,
    PAGE_ENTRIES,
    Compacted,
    Condition,
    Conflict,
    Entry,
    Event,
    Operation,
    Page,
    Put,
    StoreError,
    Unchanged,
    check_transaction,
)


class MemoryStore:
    """Implements `Store` over a dict and a list of events."""

    def __init__(self, log_revisions: int = LOG_REVISIONS) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._events: list[Event] = []
        self._revision = 0
        self._compacted = 0
        self._log_revisions = log_revisions
        self._told: list[Callable[[int], None]] = []
        self._closed = False

    def revision(self) -> int:
        with self._lock:
            return self._revision

    def get(self, key: str) -> Entry | None:
        with self._lock:
            self._must_be_open()
            return self._entries.get(key)

    def scan(self, prefix: str, start: str = "", limit: int = PAGE_ENTRIES) -> Page:
        with self._lock:
            self._must_be_open()
            keys = sorted(key for key in self._entries if key.startswith(prefix) and key >= start)
            next_key = keys[limit] if len(keys) > limit else None
            return Page(tuple(self._entries[key] for key in keys[:limit]), self._revision, next_key)

    def transact(self, conditions: Sequence[Condition], operations: Sequence[Operation]) -> int | Conflict:
        check_transaction(operations)
        with self._lock:
            self._must_be_open()
            for condition in conditions:
                entry = self._entries.get(condition.key)
                revision = entry.revision if entry else 0
                if (condition.revision != revision) if isinstance(condition, Unchanged) else not entry:
                    return Conflict(condition.key, revision)
            final = {operation.key: operation for operation in operations}
            revision = self._revision + 1
            events: list[Event] = []
            for key, operation in sorted(final.items()):
                entry = self._entries.get(key)
                if isinstance(operation, Put):
                    created = entry.created if entry else revision
                    self._entries[key] = Entry(key, operation.value, created, revision)
                    events.append(Event(key, operation.value, revision))
                elif entry:
                    del self._entries[key]
                    events.append(Event(key, None, revision))
            if not events:
                return self._revision
            self._revision = revision
            self._events.extend(events)
            if revision - self._compacted > 2 * self._log_revisions:
                self._forget(revision - self._log_revisions)
            told = list(self._told)
        for tell in told:
            tell(revision)
        return revision

    def watch(self, prefix: str, after: int, limit: int = PAGE_ENTRIES) -> tuple[Event, ...] | Compacted:
        with self._lock:
            self._must_be_open()
            if after < self._compacted:
                return Compacted(self._compacted)
            found: list[Event] = []
            for event in self._events[bisect_left(self._events, after + 1, key=lambda each: each.revision) :]:
                if len(found) >= limit and event.revision != found[-1].revision:
                    break
                if event.key.startswith(prefix):
                    found.append(event)
            return tuple(found)

    def on_commit(self, told: Callable[[int], None]) -> Callable[[], None]:
        with self._lock:
            self._told.append(told)
        return lambda: self._told.remove(told)

    def compact(self, revision: int) -> None:
        with self._lock:
            self._must_be_open()
            self._forget(min(revision, self._revision))

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def _forget(self, revision: int) -> None:
        self._compacted = max(self._compacted, revision)
        self._events = [event for event in self._events if event.revision > self._compacted]

    def _must_be_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")
