"""What is known of workloads whose sidecars are or were connected, without I/O.

In: streams that open with a checked claim, their reports, streams that end, time, and what was persisted before a restart.
Out: changed registrations (None: gone). Invariants: the newest stream of a workload owns its registration, so one that
moves never blinks, and the end of an older stream changes nothing; health is what the sidecar reports, never guessed from
the stream; a registration outlives its stream by the grace, unless the sidecar had said that it is about to stop.

    absent → connected (waits for its probe) → serving ⇄ unhealthy → lingering → absent

A workload that somebody wrote as a WorkloadEntry is only reported on: its last bad report stands until a new stream, at
most `REPORT_LIFE_MS`, since nothing else says that the process is gone. Run by `keeper`.
"""

from __future__ import annotations

import msgspec

from mainstay.model.application import Application
from mainstay.model.endpoints import Health
from mainstay.model.key import WorkloadKey
from mainstay.model.workload import Registration

REPORT_LIFE_MS = 24 * 3_600_000
"""A leaf's default life: nobody can be connected under an older one."""

RECONNECT_MS = 40_000
"""A sidecar that lost its control plane tries again within 30 s (its longest back-off). So long an entry stays after a restart
as it was: an outage of ours must not take endpoints out of rotation that serve well."""

MAX_REGISTRATIONS = 100_000
"""Workloads known at once; more are refused (their sidecars get configuration, but register nothing)."""


class Record(msgspec.Struct, frozen=True):
    """What is persisted: a registration, and whether its sidecar is connected. `since` is Unix ms."""

    registration: Registration
    connected: bool
    since: int


class _Known(msgspec.Struct):
    registration: Registration
    stream: str
    since: int
    connected: bool
    until: int | None = None
    """When it is forgotten (ms of the machine's clock), unless a stream comes."""
    awaited: int | None = None
    """It was connected before a restart and has not come back; until when nothing is pushed for its sake."""


class Machine:
    """See the module. Times are ms of one clock that goes on over restarts (Unix time)."""

    def __init__(self, grace_ms: int) -> None:
        self._grace_ms = grace_ms
        self._known: dict[WorkloadKey, _Known] = {}
        self._workload_of: dict[str, WorkloadKey] = {}
        self._changed: dict[WorkloadKey, None] = {}

    def restore(self, records: list[Record], now: int) -> None:
        """Takes up what was persisted. Entries of connected sidecars stay as they were until those have had time to come back;
        pushes wait for them no longer than the grace."""
        for record in records:
            key = record.registration.key
            known = _Known(record.registration, "", record.since, connected=False)
            known.until = self._end_of(known)
            if record.connected:
                known.until = now + max(self._grace_ms, RECONNECT_MS)
                known.awaited = now + self._grace_ms
            self._known[key] = known
            self._changed[key] = None

    def open_stream(self, stream: str, claim: Registration, now: int) -> bool:
        """A sidecar is there; its `health` is taken for unknown. False if there are too many workloads."""
        known = self._known.get(claim.key)
        if known is None and len(self._known) >= MAX_REGISTRATIONS:
            return False
        health = known.registration.health if known is not None else Health.UNKNOWN
        if health is Health.DRAINING:
            health = Health.UNKNOWN  # the process that said so has gone: this is a new one
        if known is not None:
            self._workload_of.pop(known.stream, None)
        self._workload_of[stream] = claim.key
        application = claim.application
        if application is not None and known is not None and known.registration.application is not None:
            # Until its own report comes: nobody may lose endpoints or routes because a stream starts over.
            application = known.registration.application
        registration = msgspec.structs.replace(claim, health=health, application=application)
        self._known[claim.key] = _Known(registration, stream, now, connected=True)
        self._changed[claim.key] = None
        return True

    def report(self, stream: str, health: Health, now: int) -> None:
        """The sidecar of a stream says how its workload is."""
        key = self._workload_of.get(stream)
        known = self._known.get(key) if key is not None else None
        if key is None or known is None or known.registration.health is health:
            return
        known.registration = msgspec.structs.replace(known.registration, health=health)
        known.since = now
        self._changed[key] = None

    def tell(self, stream: str, application: Application, now: int) -> None:
        """The sidecar of a stream says what its application publishes and wants."""
        key = self._workload_of.get(stream)
        known = self._known.get(key) if key is not None else None
        if key is None or known is None or known.registration.application in (None, application):
            return
        known.registration = msgspec.structs.replace(known.registration, application=application)
        known.since = now
        self._changed[key] = None

    def close_stream(self, stream: str, now: int) -> None:
        """A stream has ended, for whatever reason."""
        key = self._workload_of.pop(stream, None)
        known = self._known.get(key) if key is not None else None
        if key is None or known is None or known.stream != stream:
            return
        known.connected = False
        known.since = now
        known.until = self._end_of(known)
        self._changed[key] = None

    def _end_of(self, known: _Known) -> int:
        """When a workload is forgotten whose stream ended at `since`."""
        health = known.registration.health
        if known.registration.group is None:
            bad = health in (Health.UNHEALTHY, Health.DRAINING)
            return known.since + (REPORT_LIFE_MS if bad else self._grace_ms)
        return known.since if health is Health.DRAINING else known.since + self._grace_ms

    def pass_time(self, now: int) -> None:
        """Forgets whose time is up."""
        for key, known in list(self._known.items()):
            if known.until is not None and known.until <= now:
                del self._known[key]
                self._changed[key] = None
            elif known.awaited is not None and known.awaited <= now:
                known.awaited = None
                self._changed[key] = None  # nothing of it changed, but what waited for it may go on

    def next_deadline(self) -> int | None:
        times = (at for known in self._known.values() for at in (known.until, known.awaited))
        return min((at for at in times if at is not None), default=None)

    def waits_for_known(self) -> bool:
        """Whether a workload that was connected before a restart is neither back nor given up: before, nothing is
        pushed, since a view without it would take its endpoints from everybody."""
        return any(known.awaited is not None for known in self._known.values())

    def take_changed(self) -> dict[WorkloadKey, Record | None]:
        """What differs from the last call; None: gone."""
        changed, self._changed = self._changed, {}
        return {key: self._record(key) for key in changed}

    def records(self) -> dict[WorkloadKey, Record]:
        """All that is known."""
        return {key: _record_of(known) for key, known in self._known.items()}

    def _record(self, key: WorkloadKey) -> Record | None:
        known = self._known.get(key)
        return None if known is None else _record_of(known)


def _record_of(known: _Known) -> Record:
    return Record(known.registration, known.connected, known.since)
