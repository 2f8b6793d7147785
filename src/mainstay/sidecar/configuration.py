"""The configuration, from its sources to the engine: converted, held back until what it needs is in force, handed over as at most
one change a turn, judged.

In: offers, messages through `discovery`, files that change, what the engine refuses. Out: changes for the engine, verdicts for
sources, and `InForce`: what the brain has to act upon. Invariants: verdicts on a change are given one turn later, since what the
engine finds out while it puts a change in force (a port that is taken) comes as an event; nothing is removed from the engine
before the last run's configuration has been offered. Called by the brain alone, which has the order of a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

import msgspec

from mainstay.engine import Delta, RefusedEvent, RefusedResource, Removal, Upsert
from mainstay.sidecar.bootstrap.boot import Boot
from mainstay.sidecar.border import Lease
from mainstay.sidecar.convert.gathered import INLINE, ReadFile
from mainstay.sidecar.convert.references import Reference
from mainstay.sidecar.convert.source import Source
from mainstay.sidecar.convert.table import KINDS, Encoded
from mainstay.sidecar.discovery import Discovery
from mainstay.sidecar.doors import Doors
from mainstay.sidecar.exec_probe import ExecProbes, Start, Verdict
from mainstay.sidecar.filed import Filed
from mainstay.sidecar.files import Files, Stamp
from mainstay.sidecar.intake import KINDS as ENGINE_KINDS
from mainstay.sidecar.intake import XDS_KINDS, Intake
from mainstay.sidecar.last_good import LastGood, Record
from mainstay.sidecar.restore import Restore
from mainstay.sidecar.status import Status
from mainstay.sidecar.warming import ROUTES, Change, Offer, Warming
from mainstay.telemetry.log import get_log
from mainstay.xds.client import types as xds
from mainstay.xds.types import TYPES
from mainstay.xds.types import Kind as XdsKind

_log = get_log("sidecar.configuration")
MANY_RESOURCES = 500
"""After so many new resources, what converting them left free is given back to the system."""
MESSAGES = {row.kind: row.message for row in KINDS.values()}


class InForce(msgspec.Struct, frozen=True):
    """What a change has brought in force, and taken away."""

    taken: tuple[Encoded, ...] = ()
    gone: tuple[Reference, ...] = ()


class Unfit(Exception):  # noqa: N818 (an outcome, not an error of ours)
    """The engine does not take what the bootstrap itself says: the proxy cannot be what was asked for."""

    def __init__(self, faults: tuple[RefusedResource, ...]) -> None:
        places = (": ".join(filter(None, (f"{each.resource} {each.name}", each.path))) for each in faults)
        lines = (f"  {place}: {each.reason}" for place, each in zip(places, faults, strict=True))
        super().__init__("\n".join(lines))


class Configuration:
    """See the module. `clock`: monotonic ms. `stamp`: what changes when a file does. `start` runs commands of probes, if they are
    allowed."""

    def __init__(
        self,
        lease: Lease,
        boot: Boot,
        last_good: LastGood,
        status: Status,
        clock: Callable[[], int],
        random: Callable[[], float],
        read_file: ReadFile,
        stamp: Callable[[str], Stamp | None],
        start: Start | None,
    ) -> None:
        self._engine = lease.engine
        self._boot = boot
        self._last_good = last_good
        self._status = status
        self._clock = clock
        self._files = Files(read_file, stamp)
        self._filed = Filed(self._files, lenient=boot.lenient)
        comes = boot.dynamic is not None and boot.dynamic.clusters is not None
        self.warming = Warming(clusters_come=comes)
        self._intake = Intake(clock, self._files.read, lenient=boot.lenient)
        self._exec_probes = ExecProbes(start)
        self.discovery = Discovery(lease, boot, status, random, self._files, self._intake.submit)
        self.doors = Doors()
        self._answered: set[XdsKind] = set()
        self._restore = Restore([], clock, self._files.read)
        self.restoring = False
        self._reconciled = False
        self._refused: dict[Reference, xds.Refusal] = {}
        """What the engine has refused since the last verdicts."""
        self._unproven: set[Reference] = set()
        """What the bootstrap says itself and the engine has not been told, until all came to rest for the first time. A file is
        taken whole or not at all; what waits for a server's resources is judged when others serve already, and ends nothing."""
        self._moving = True
        self._applied = False
        """Whether a change has been put in force since the last verdicts."""
        self._taken = MANY_RESOURCES
        """Resources since memory was given back. The start counts as many."""

    @property
    def moving(self) -> bool:
        """Whether the last look found something to hand over, so that there may be more."""
        return self._moving

    @property
    def busy(self) -> bool:
        """Whether there is work without anything happening."""
        return self._moving or self._intake.busy or self.restoring

    def next_deadlines(self, now: int) -> Iterable[int | None]:
        """When it wants a turn at the latest."""
        return (
            self.discovery.next_deadline(),
            self._files.next_deadline(),
            self._exec_probes.next_deadline(now),
            self.doors.next_deadline(),
            self.warming.next_deadline(),
            self.warming.next_removal(),
            self._intake.next_deadline(),
        )

    def start(self) -> None:
        """Offers what the bootstrap says itself."""
        static = tuple(part for converted in self._boot.static for part in converted.parts)
        if not self._boot.lenient and not self._status.deaths:
            self._unproven = {(part.kind, part.name) for part in static}
        self.offer(Offer(static, local=True), None, self._clock())

    def stop(self) -> None:
        """Ends what runs beside."""
        self._exec_probes.stop()

    # --- what comes -----------------------------------------------------------------------------------------------

    def offer(self, offer: Offer, origin: Source | None, now: int) -> None:
        """Hands resources on. `origin`: where they came from; `None` for what is the proxy's own, or of its last run."""
        for encoded in offer.upserts:
            self.discovery.learn(encoded, origin)
            self._filed.note(encoded, origin, now, local=offer.local)
            if encoded.kind == "cluster":
                self._exec_probes.set(encoded.name, encoded.command, now)
            elif encoded.kind == "listener":
                self.doors.offered(encoded)
        self.warming.offer(offer, now)
        self._moving = True

    def refused_late(self, event: RefusedEvent, now: int) -> None:
        """The engine has found out what is wrong with something that it took."""
        self.warming.refused_late((event.resource, event.name))
        self._refuse(event)
        if event.resource == "listener":
            self.doors.refused(event.name, event.reason, now)

    def tick(self, now: int) -> Iterable[Verdict]:
        """Looks at clocks; returns what commands of probes have said."""
        self.discovery.tick(now)
        for key in self._files.due(now):
            self._read_again(key, now)
        for shut in self.doors.due(now):
            self.warming.offer(Offer((shut,)), now)
            self._moving = True
        return self._exec_probes.tick(now)

    def _read_again(self, key: Hashable, now: int) -> None:
        """Files have changed: those of a resource, or one that is a source itself."""
        if not self._filed.knows(key):
            self.discovery.changed_file(key, now)
            return
        made = self._filed.make_again(key, now)
        if made is not None:
            self.offer(*made, now)

    def convert(self, own: Iterable[Offer], now: int) -> None:
        """Converts what has come. `own`: what others in this program offer."""
        for ready in self._intake.convert(now):
            self.offer(ready.offer, ready.origin, now)
            self._answered.add(ready.kind)
            self.discovery.converted(ready.token)
        for offer in own:
            self.offer(offer, None, now)
        self._want(now)

    def _want(self, now: int) -> None:
        kinds = {XDS_KINDS[demand.kind] for demand in self.warming.demand()} | self.discovery.changed()
        for kind in kinds:
            if not TYPES[kind].wildcard:
                names = self.warming.needed(ENGINE_KINDS[kind])
                self.discovery.want(kind, self._askable(names, kind), now)

    def _askable(self, names: Iterable[str], kind: XdsKind) -> frozenset[str]:
        """Without what stood inline, and secrets that are a proxy's own (they come from beside it, or not at all)."""
        own_secrets = self._boot.own_secrets if kind == "secret" else frozenset[str]()
        return frozenset(name for name in names if name not in own_secrets and not name.startswith(INLINE))

    # --- what goes ------------------------------------------------------------------------------------------------

    def change(self, now: int) -> InForce:
        """At most one delta."""
        change = self.warming.take(now)
        self._moving = change is not None
        if change is None:
            return InForce()
        report = self._engine.apply(_delta(change))
        refused = {(each.resource, each.name): each for each in report.refused}
        if unfit := [fault for reference, fault in refused.items() if reference in self._unproven]:
            raise Unfit(tuple(unfit))
        self._unproven.difference_update((each.kind, each.name) for each in change.upserts)
        self.warming.applied(refused)
        self._applied = True
        self._taken += len(change.upserts)
        taken = self._note(change, refused)
        self._last_good.write(
            Record(MESSAGES[kind], name, "", None) for kind, name in change.removals if kind in MESSAGES
        )
        return InForce(taken, change.removals)

    def _note(self, change: Change, refused: dict[Reference, RefusedResource]) -> tuple[Encoded, ...]:
        taken = []
        for encoded in change.upserts:
            reference = (encoded.kind, encoded.name)
            if reference in refused:
                self._refuse(refused[reference])
            else:
                self._status.accept(reference)
                taken.append(encoded)
        for reference in change.removals:
            self._status.gone(reference)
            self._filed.forget(reference)
            if reference[0] == "cluster":
                self._exec_probes.forget(reference[1])
            elif reference[0] == "listener":
                self.doors.gone(reference[1])
        return tuple(taken)

    def _refuse(self, fault: RefusedResource | RefusedEvent) -> None:
        reference = (fault.resource, fault.name)
        self._refused[reference] = xds.Refusal(fault.name, fault.path, fault.reason)
        self._status.refuse(reference, fault.path, fault.reason)
        _log.warning(
            "the engine refuses a resource",
            kind=fault.resource,
            name=fault.name,
            path=fault.path,
            reason=fault.reason,
        )

    def judge(self, now: int) -> None:
        """Tells sources what became of what they sent."""
        refused, self._refused = self._refused, {}
        changed, self._applied = self._applied, False
        verdicts, records = self._intake.decided(
            self.warming.digest, refused, now, changed=changed, check=self._check_waiting
        )
        for verdict in verdicts:
            for refusal in verdict.refused:
                _log.warning("refused", name=refusal.name, path=refusal.path, reason=refusal.reason)
            self._status.judged(verdict)
            self.discovery.judge(verdict, now)
        if records:
            self._last_good.write(records)

    def judge_doors(self) -> tuple[bool, str]:
        """Whether one that was shut has opened, and why the workload cannot be reached, if it cannot."""
        return self.doors.judged(self.warming.digest), self.doors.trouble

    def _check_waiting(self, waiting: Mapping[Reference, str]) -> Mapping[Reference, xds.Refusal]:
        """Which of those that wait, by digest, the engine would refuse anyway."""
        coming = [self.warming.coming(reference) for reference in waiting]
        upserts = tuple(
            Upsert(each.kind, each.name, each.digest, each.body)
            for each in coming
            if each is not None and each.kind in ROUTES and waiting[each.kind, each.name] == each.digest
        )
        if not upserts:
            return {}
        found = {}
        for fault in self._engine.check(Delta(upserts)).refused:
            reference = (fault.resource, fault.name)
            self.warming.refused_waiting(reference)
            self._status.refuse(reference, fault.path, fault.reason)
            found[reference] = xds.Refusal(fault.name, fault.path, fault.reason)
        return found

    # --- at rest --------------------------------------------------------------------------------------------------

    def settle(self, node: Callable[[], bytes], ads: str | None, now: int) -> bool:
        """Whether it has come to rest; then streams are opened, as this node, and what is left over goes."""
        for stuck in self.warming.stuck(now):
            missing = [f"{kind} {name}" for kind, name in stuck.missing]
            what = "goes on without what it needs" if stuck.goes_on else "waits for what it needs"
            _log.warning(what, kind=stuck.reference[0], name=stuck.reference[1], missing=missing)
        if self._moving or self._intake.busy:
            return False
        self._unproven.clear()
        if not self._reconciled:
            self._reconcile()
        if self._taken >= MANY_RESOURCES:
            self._taken = 0
            self._engine.give_back_memory()
        self.discovery.open(self.warming.holds, node, ads, self._held_before, now)
        return True

    def is_whole(self, now: int) -> bool:
        """Whether a first configuration is in force; what waits for longer than its patience does not hold it up."""
        asked, restore = self.discovery.asked, self._restore
        # A control plane that has nothing new for what was restored does not answer.
        restored = restore.has_listeners if "listener" in asked else restore.has_clusters
        if not restored and not asked <= self._answered:
            return False
        deadline = self.warming.next_deadline()
        return deadline is None or now >= deadline

    def _held_before(self) -> Mapping[XdsKind, dict[str, str]]:
        return self._restore.versions(self.warming.knows)

    # --- the last run ---------------------------------------------------------------------------------------------

    def begin_to_restore(self) -> None:
        """Takes up the last run's configuration, a little at a time."""
        self._restore = Restore(
            self._last_good.load(), self._clock, self._files.read, lenient=self._boot.lenient
        )
        self.restoring = True

    def restore_some(self) -> None:
        """Goes on with that."""
        if not self._restore.step():
            return
        self.restoring = False
        offer = self._restore.offer
        self.offer(offer, None, self._clock())
        if offer.upserts:
            _log.info("serves the last good configuration", resources=len(offer.upserts))

    def _reconcile(self) -> None:
        """Removes what the engine holds from a former brain and nobody knows of any more."""
        self._reconciled = True
        leftovers = [
            Removal(held.resource, held.name)
            for held in self._engine.held()
            if not self.warming.knows((held.resource, held.name))
        ]
        if leftovers:
            _log.info("removes what is left over", resources=len(leftovers))
            self._engine.apply(Delta(removals=tuple(leftovers)))


def _delta(change: Change) -> Delta:
    return Delta(
        tuple(Upsert(each.kind, each.name, each.digest, each.body) for each in change.upserts),
        tuple(Removal(kind, name) for kind, name in change.removals),
    )
