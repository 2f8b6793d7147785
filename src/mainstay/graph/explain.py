"""Why a key has the value it has: the last recomputes, and the walk from one back to the write behind it.

In: one record per recompute. Out: the chain of records that led to a key's last change, and its cause.
Invariant: memory is bounded by `limit` records; what has fallen out of the ring is said to be unknown, not
guessed. Written by the round, read by `mainstay why`.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from mainstay.graph.contract import Cause

RING_RECORDS = 100_000
"""Recomputes remembered. About 20 MB when full."""

MAX_STEPS = 64
"""Longest chain walked: more than the levels any graph has."""


class Recompute(msgspec.Struct, frozen=True, gc=False):
    """One run of one key, or one change of an input key (then `write` says who made it)."""

    round: int
    collection: str
    key: Any
    cause: tuple[str, Any] | None
    """Collection and key whose change woke it first; None for inputs and for keys demanded from outside."""
    changed: bool
    seconds: float
    write: Cause | None = None


class Ring:
    """The last `limit` recomputes, and for each key the last one that changed it."""

    def __init__(self, limit: int = RING_RECORDS) -> None:
        self._limit = limit
        self._records: deque[Recompute] = deque()
        self._last_change: dict[tuple[str, Any], Recompute] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Recompute) -> None:
        if len(self._records) >= self._limit:
            gone = self._records.popleft()
            node = (gone.collection, gone.key)
            if self._last_change.get(node) is gone:
                del self._last_change[node]
        self._records.append(record)
        if record.changed:
            self._last_change[(record.collection, record.key)] = record

    def find_chain(self, collection: str, key: Any) -> list[Recompute]:
        """From the key's last change back to the input that began it; empty if the ring no longer knows."""
        chain: list[Recompute] = []
        node: tuple[str, Any] | None = (collection, key)
        while node is not None and len(chain) < MAX_STEPS:
            record = self._last_change.get(node)
            if record is None:
                break
            if not chain or record is not chain[-1]:
                chain.append(record)
            node = record.cause
        return chain

    def last(self, count: int) -> list[Recompute]:
        """The newest records, newest last."""
        return list(self._records)[-count:]
