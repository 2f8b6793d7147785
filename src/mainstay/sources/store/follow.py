"""Follows the store: a scan is a listing, a watch by revision brings each change after it.

In: a store and a prefix. Out: batches whose revision is the store's. Invariant: no change is missed: a watch
begins at the scan's revision, and `Compacted` leads to a new scan in a new epoch. Store calls run off the
loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from mainstay.sources.contract import Batch, Change, Clock, Sink, SourceError
from mainstay.store import Compacted, Store, StoreError, scan_all

ReadEntry = Callable[[str, bytes | None], Change]
"""`read(key, value)`: what a stored value means; None was deleted. Never raises for what the store may
hold."""

POLL_MS = 1_000
"""Other processes' writes are looked for this often; own ones are told at commit."""


class StoreSource:
    """See the module."""

    def __init__(self, name: str, store: Store, prefix: str, read: ReadEntry, clock: Clock) -> None:
        self.name = name
        self._store = store
        self._prefix = prefix
        self._read = read
        self._clock = clock

    async def run(self, sink: Sink, epoch: int) -> None:
        loop = asyncio.get_running_loop()
        written = asyncio.Event()

        def wake(_revision: int) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended while the store was writing
                loop.call_soon_threadsafe(written.set)

        stop = self._store.on_commit(wake)
        try:
            while True:
                await self._follow(sink, epoch, written)
                epoch += 1
        except StoreError as error:
            raise SourceError(str(error)) from error
        finally:
            stop()

    async def _follow(self, sink: Sink, epoch: int, written: asyncio.Event) -> None:
        """One epoch: until the log no longer reaches back to where we are."""
        entries, revision = await asyncio.to_thread(scan_all, self._store, self._prefix)
        listing = tuple(self._read(entry.key, entry.value) for entry in entries)
        await sink.put(Batch(self.name, epoch, listing, str(revision), synced=True))
        while True:
            written.clear()
            events = await asyncio.to_thread(self._store.watch, self._prefix, revision)
            if isinstance(events, Compacted):
                return
            if events:
                revision = events[-1].revision
                changes = tuple(self._read(event.key, event.value) for event in events)
                await sink.put(Batch(self.name, epoch, changes, str(revision)))
            else:
                await self._wait(written)

    async def _wait(self, written: asyncio.Event) -> None:
        told = asyncio.ensure_future(written.wait())
        slept = asyncio.ensure_future(self._clock.sleep(POLL_MS))
        try:
            await asyncio.wait((told, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            slept.cancel()
