"""Persists registrations and brings them as a source: the one file of it that touches the store and waits.

In: what happens to streams (called by whoever serves them, on the loop). Out: batches of registrations, and their records
in the store under `PREFIX`. Invariant: a batch is brought before its records are written, since readers must not wait for
a disk; after a crash between the two a workload is at worst known as it was a moment before, and its sidecar comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from mainstay.model.application import Application
from mainstay.model.endpoints import Health
from mainstay.model.key import WorkloadKey
from mainstay.model.workload import Registration
from mainstay.sources.contract import Batch, Change, Remove, Sink, SourceError, Upsert
from mainstay.sources.workloads.machine import Machine, Record
from mainstay.store import Delete, Operation, Put, Store, StoreError, scan_all
from mainstay.telemetry.log import get_log

log = get_log("sources")

PREFIX = "registrations/"


class WorkloadsSource:
    """See the module. `time_of_day` gives Unix ms; `restored()` is called once when what was persisted has been read."""

    def __init__(
        self, name: str, store: Store, machine: Machine, time_of_day: Callable[[], int], who: str = ""
    ) -> None:
        self.name = name
        self._store = store
        self._machine = machine
        self._time_of_day = time_of_day
        self._who = who
        self._woken = asyncio.Event()
        self._restored = False

    @property
    def waits(self) -> bool:
        """Whether pushes have to wait: records are not read yet, or somebody who was connected is not back yet."""
        return not self._restored or self._machine.waits_for_known()

    def open_stream(self, stream: str, claim: Registration) -> None:
        """A sidecar's first stream is there."""
        claim = msgspec.structs.replace(claim, owner=self._who)
        if not self._machine.open_stream(stream, claim, self._time_of_day()):
            log.error("too many workloads: one was not registered", workload=str(claim.key))
        self._woken.set()

    def report(self, stream: str, health: Health) -> None:
        """Its sidecar says how a workload is."""
        self._machine.report(stream, health, self._time_of_day())
        self._woken.set()

    def tell(self, stream: str, application: Application) -> None:
        """Its sidecar says what its application publishes and wants."""
        self._machine.tell(stream, application, self._time_of_day())
        self._woken.set()

    def close_stream(self, stream: str) -> None:
        """The stream has ended."""
        self._machine.close_stream(stream, self._time_of_day())
        self._woken.set()

    async def run(self, sink: Sink, epoch: int) -> None:
        try:
            if not self._restored:
                records = await asyncio.to_thread(self._read)
                self._machine.restore(records, self._time_of_day())
                self._restored = True
            self._machine.take_changed()
            known = self._machine.records()
            listing = tuple(_change_of(key, record) for key, record in known.items())
            await sink.put(Batch(self.name, epoch, listing, synced=True))
            await self._persist(dict(known))
            while True:
                await self._wait()
                self._machine.pass_time(self._time_of_day())
                changed = self._machine.take_changed()
                if changed:
                    changes = tuple(_change_of(key, record) for key, record in changed.items())
                    await sink.put(Batch(self.name, epoch, changes))
                    await self._persist(changed)
        except StoreError as error:
            raise SourceError(str(error)) from error

    async def _wait(self) -> None:
        deadline = self._machine.next_deadline()
        timeout = None if deadline is None else max(0, deadline - self._time_of_day()) / 1_000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        self._woken.clear()

    def _read(self) -> list[Record]:
        records: list[Record] = []
        for entry in scan_all(self._store, PREFIX)[0]:
            try:
                records.append(msgspec.json.decode(entry.value, type=Record))
            except msgspec.MsgspecError as error:
                log.warning("registration cannot be read and is left out", key=entry.key, reason=str(error))
        return records

    async def _persist(self, changed: dict[WorkloadKey, Record | None]) -> None:
        operations: list[Operation] = [
            Delete(f"{PREFIX}{key}") if record is None else Put(f"{PREFIX}{key}", msgspec.json.encode(record))
            for key, record in changed.items()
        ]
        for begin in range(0, len(operations), 1_000):
            await asyncio.to_thread(self._store.transact, (), operations[begin : begin + 1_000])


def _change_of(key: WorkloadKey, record: Record | None) -> Change:
    return (
        Remove(key, f"workload {key}")
        if record is None
        else Upsert(key, record.registration, f"workload {key}")
    )
