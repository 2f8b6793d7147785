"""The brain: one loop in which events of the engine meet machines, and at most one change goes back a turn.

In: events (`engine.wait`), files of the last run. Out: calls to the engine. Invariants: machines never call each other, the
wiring is here (`_take`); a turn is wait → events → clocks → conversion → one change → verdicts; what it did not build itself
(engine, lifecycle, last good files) it leaves whole when it dies, for the next brain. Verdicts on a change are given one turn
later: what the engine finds out while it puts a change in force (a port that is taken) comes as an event. Run by `main`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Mapping

import msgspec

from mainstay.engine import (
    Asked,
    Delta,
    Drained,
    EndpointHealth,
    Event,
    GrpcClosed,
    GrpcMessage,
    GrpcOpened,
    ListenerBound,
    RefusedEvent,
    RefusedResource,
    Removal,
    Signal,
    Stopped,
    Timer,
    Trouble,
    Upsert,
    Warmed,
)
from mainstay.settings.sidecar import Probe
from mainstay.sidecar import lifecycle, pages, plan
from mainstay.sidecar.beside import Beside, ProxyDrained, ProxyGone, ProxyReady
from mainstay.sidecar.bootstrap import own
from mainstay.sidecar.bootstrap.boot import Boot
from mainstay.sidecar.border import Lease
from mainstay.sidecar.convert.gathered import INLINE, ReadFile
from mainstay.sidecar.convert.references import Reference
from mainstay.sidecar.convert.source import Source
from mainstay.sidecar.convert.table import KINDS, Encoded, encode
from mainstay.sidecar.discovery import Discovery
from mainstay.sidecar.doors import Doors
from mainstay.sidecar.ending import STOP_SIGNALS
from mainstay.sidecar.exec_probe import ExecProbes, Start
from mainstay.sidecar.filed import Filed
from mainstay.sidecar.files import Files, Stamp
from mainstay.sidecar.health import PROXY_NOT_READY, Health
from mainstay.sidecar.identity import LEAF_REFERENCE, Identity
from mainstay.sidecar.intake import KINDS as ENGINE_KINDS
from mainstay.sidecar.intake import XDS_KINDS, Intake
from mainstay.sidecar.last_good import LastGood, Record
from mainstay.sidecar.registry_api.serve import RegistryApi
from mainstay.sidecar.restore import Restore
from mainstay.sidecar.status import Status
from mainstay.sidecar.warming import ROUTES, Change, Offer, Warming
from mainstay.telemetry.log import get_log
from mainstay.xds.client import types as xds
from mainstay.xds.types import TYPES
from mainstay.xds.types import Kind as XdsKind

_log = get_log("sidecar.brain")
MANY_RESOURCES = 500
"""After so many new resources, what converting them left free is given back to the system."""
LONGEST_WAIT_MS = 30_000
APPLICATION_PROBE = own.probe_name(own.APPLICATION)
METRICS_MS = 1_000
"""Wall clocks jump: certificates are looked at this often at least."""
MESSAGES = {row.kind: row.message for row in KINDS.values()}


class Brain:
    """See the module. `clock`: monotonic ms. `identity` None: the workload has none of the mesh's. `stamp`: what changes when a
    file does. `beside`: another proxy, which carries the traffic instead of the engine. `start` runs commands of probes, if
    they are allowed. `registry`: the API for the application beside it, if it is served."""

    def __init__(
        self,
        lease: Lease,
        boot: Boot,
        life: lifecycle.Lifecycle,
        last_good: LastGood,
        status: Status,
        identity: Identity | None,
        clock: Callable[[], int],
        random: Callable[[], float],
        read_file: ReadFile,
        stamp: Callable[[str], Stamp | None],
        beside: Beside | None = None,
        start: Start | None = None,
        registry: RegistryApi | None = None,
    ) -> None:
        self._engine = lease.engine
        self._boot = boot
        self._life = life
        self._last_good = last_good
        self._status = status
        self._identity = identity
        self._clock = clock
        self._files = Files(read_file, stamp)
        self._filed = Filed(self._files, lenient=boot.lenient)
        comes = boot.dynamic is not None and boot.dynamic.clusters is not None
        self._warming = Warming(clusters_come=comes)
        self._intake = Intake(clock, self._files.read, lenient=boot.lenient)
        self._exec_probes = ExecProbes(start)
        self._registry = registry
        self._application_probe: Probe | None = None
        self._discovery = Discovery(lease, boot, status, random, self._files, self._intake.submit)
        self._beside = beside
        self._process = beside if beside is not None and beside.runs else None
        self._linger = 0
        self._doors = Doors()
        self._health = Health("" if self._process is None or self._process.is_ready else PROXY_NOT_READY)
        self._answered: set[XdsKind] = set()
        self._restore = Restore([], clock, self._files.read)
        self._restoring = False
        self._reconciled = False
        self._refused: dict[Reference, xds.Refusal] = {}
        """What the engine has refused since the last verdicts."""
        self._metrics = ""
        self._metrics_at = 0
        self._metrics_due = False
        self._drain_token: int | None = None
        self._busy = True
        self._applied = False
        """Whether a change has been put in force since the last verdicts."""
        self._taken = MANY_RESOURCES
        """Resources since memory was given back. The start counts as many."""
        self.untaken: deque[Event] = deque()
        """Events of this turn that are still to be taken: for the next brain, if this one dies of the one before them."""
        self.ended = False

    # --- the loop -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Takes up the work over an engine that may hold the former brain's configuration."""
        for command in self._life.resume(self._clock()):
            self._carry_out(command)
        static = tuple(part for converted in self._boot.static for part in converted.parts)
        self._offer(Offer(static, local=True), None, self._clock())
        if self._identity is not None:
            self._identity.start()
        self._follow_application(self._clock())
        if self._boot.is_dynamic:
            self._restore = Restore(
                self._last_good.load(), self._clock, self._files.read, lenient=self._boot.lenient
            )
            self._restoring = True

    def run(self, before: Iterable[Event] = ()) -> None:
        """Turns until the end. `before`: events that came while there was no brain."""
        self.untaken.extend(before)
        self.start()
        self._take_all()
        try:
            while not self.ended:
                self.turn()
        finally:
            self._exec_probes.stop()

    def turn(self) -> None:
        self.untaken.extend(self._engine.wait(self._patience(self._clock())))
        self._take_all()
        now = self._clock()
        self._look_at_clocks(now)
        self._look_beside(now)
        if self._restoring:
            self._restore_some()
            return
        self._convert(now)
        self._judge(now)
        self._change(now)
        self._settle(now)
        self._tell_metrics(now)

    def _tell_metrics(self, now: int) -> None:
        """Figures for `/stats/prometheus`, at most each second."""
        self._metrics_due = now < self._metrics_at
        if self._busy or self._metrics_due:
            return
        held: Counter[str] = Counter(kind for kind, _ in self._warming.held())
        text = self._status.metrics(held, len(self._warming.waiting()))
        if text != self._metrics:
            self._metrics, self._metrics_at = text, now + METRICS_MS
            self._engine.set_metrics(text)

    def _patience(self, now: int) -> int:
        """How long the engine may let us wait."""
        if self._busy or self._intake.busy or self._restoring:
            return 0
        deadlines = [
            self._discovery.next_deadline(),
            self._files.next_deadline(),
            self._registry.next_deadline() if self._registry is not None else None,
            self._exec_probes.next_deadline(now),
            self._doors.next_deadline(),
            self._warming.next_deadline(),
            self._warming.next_removal(),
            self._metrics_at if self._metrics_due else None,
            self._intake.next_deadline(),
            self._identity.next_deadline(now) if self._identity is not None else None,
            self._process.next_deadline() if self._process is not None else None,
        ]
        nearest = min((at for at in deadlines if at is not None), default=now + LONGEST_WAIT_MS)
        return max(0, min(nearest - now, LONGEST_WAIT_MS))

    # --- events → machines ----------------------------------------------------------------------------------------

    def _take_all(self) -> None:
        while self.untaken:
            self._take(self.untaken.popleft(), self._clock())

    def _take(self, event: Event, now: int) -> None:
        match event:
            case GrpcMessage() | GrpcClosed():
                self._take_grpc(event, now)
            case Signal(number):
                if number in STOP_SIGNALS:
                    self._live(lifecycle.StopAsked(), now)
            case Drained(token, cut):
                if token == self._drain_token:
                    _log.info("drained", cut=cut)
                    self._live(lifecycle.DrainEnded(), now)
            case Stopped():
                self._live(lifecycle.EngineStopped(), now)
            case EndpointHealth():
                if self._registry is not None and event.cluster == APPLICATION_PROBE and not event.healthy:
                    self._registry.died()
                self._report_health(self._health.take(event), now)
            case Asked(asker="application"):
                self._register(event, now)
            case Asked():
                self._answer(event, now)
            case RefusedEvent():
                self._warming.refused_late((event.resource, event.name))
                self._refuse(event)
                if event.resource == "listener":
                    self._doors.refused(event.name, event.reason, now)
            case ListenerBound(name, address):
                self._status.bound(name, address)
            case Trouble(what):
                _log.error("trouble in the engine", what=what)
            case GrpcOpened() | Timer() | Warmed():
                pass

    def _take_grpc(self, event: GrpcMessage | GrpcClosed, now: int) -> None:
        if self._identity is not None:
            self._identity.take(event)
        self._discovery.take(event, now)

    def _register(self, event: Asked, now: int) -> None:
        """The application beside us has asked for something."""
        if self._registry is not None:
            self._registry.take(event, now)
            self._follow_application(now)

    def _follow_application(self, now: int) -> None:
        """What the application has registered is told, and its port is probed, as long as it publishes."""
        if self._registry is None:
            return
        change = self._registry.take_change()
        if change is not None:
            self._status.application = self._registry.show()
            self._discovery.tell(change, now)
        probe = self._registry.probe
        if probe == self._application_probe:
            return
        self._application_probe = probe
        if probe is None or probe.port is None:
            self._offer(Offer(removals=(("cluster", APPLICATION_PROBE),), local=True), None, now)
        else:
            if self._registry.take_revived():
                self._report_health(self._health.expect(APPLICATION_PROBE), now)
            cluster = own.probe_cluster(probe, probe.port, own.APPLICATION)
            self._offer(Offer((encode(cluster),), local=True), None, now)
        self._busy = True

    def _answer(self, event: Asked, now: int) -> None:
        if self._beside is not None:
            self._status.proxy = self._beside.show()
        page = pages.answer(event, self._status, self._warming, self._last_good, self._life.shown_state)
        self._engine.answer(event.token, page.status, page.content_type, page.body)
        if page.asks == "stop":
            self._live(lifecycle.StopAsked(), now)
        elif page.asks == "drain":
            self._live(lifecycle.DrainAsked(), now)

    def _look_at_clocks(self, now: int) -> None:
        self._discovery.tick(now)
        if self._registry is not None:
            self._registry.tick(now)
        for key in self._files.due(now):
            self._read_again(key, now)
        for shut in self._doors.due(now):
            self._warming.offer(Offer((shut,)), now)
            self._busy = True
        for verdict in self._exec_probes.tick(now):
            self._report_health(self._health.take_command(verdict), now)
        if self._identity is not None:
            self._identity.tick(now, self._warming.holds)
            self._follow_leaf(self._identity.cluster, now)
            report = self._identity.report
            self._status.trouble = f"{report.trouble}: {report.reason}" if report.trouble else ""

    def _look_beside(self, now: int) -> None:
        """What has become of the proxy beside us."""
        if self._process is None:
            return
        self._process.child_changed(now)
        self._process.tick(now)
        for outcome in self._process.take_outcomes():
            match outcome:
                case ProxyReady(ready):
                    self._report_health(self._health.hindered("" if ready else PROXY_NOT_READY), now)
                case ProxyDrained(cut):
                    _log.info("drained", cut=cut)
                    self._live(lifecycle.DrainEnded(), now)
                case ProxyGone():
                    if self._linger:
                        self._engine.shutdown(self._linger)

    def _follow_leaf(self, cluster: str, now: int) -> None:
        """A new leaf has a new cluster: the stream moves there, and resumes with the versions it has."""
        if self._discovery.ads_cluster in (None, cluster) or not self._warming.holds(("cluster", cluster)):
            return
        self._discovery.move(cluster, now)

    # --- machines → engine ----------------------------------------------------------------------------------------

    def _live(self, event: lifecycle.Event, now: int) -> None:
        before = self._life.state
        for command in self._life.handle(event, now):
            self._carry_out(command)
        if self._life.state != before:
            _log.info("is now " + self._life.state)
            self._status.state = self._life.state

    def _carry_out(self, command: lifecycle.Command) -> None:
        match command:
            case lifecycle.SetReady(ready):
                self._engine.set_ready(ready)
                self._status.ready(ready)
            case lifecycle.TellDraining():
                self._report_health(self._health.drain(), self._clock())
            case lifecycle.Drain(scope, shortest, longest) if self._process is not None:
                self._process.drain(scope, shortest, longest, self._clock())
            case lifecycle.Drain(scope, shortest, longest):
                self._drain_token = self._engine.drain(scope, shortest, longest)
            case lifecycle.Shutdown(deadline):
                self._discovery.cancel()
                if self._process is not None:
                    self._linger = deadline
                    self._process.stop(self._clock())
                else:
                    self._engine.shutdown(deadline)
            case lifecycle.Ended():
                self.ended = True

    def _report_health(self, report: xds.HealthChanged | None, now: int) -> None:
        if report is not None:
            _log.info("the workload's health", healthy=report.healthy, reason=report.reason)
            self._status.health = report
            self._discovery.report(report, now)

    # --- configuration --------------------------------------------------------------------------------------------

    def _convert(self, now: int) -> None:
        for ready in self._intake.convert(now):
            self._offer(ready.offer, ready.origin, now)
            self._answered.add(ready.kind)
            self._discovery.converted(ready.token)
        if self._identity is not None:
            offers, self._identity.offers = self._identity.offers, []
            for offer in offers:
                self._offer(offer, None, now)
        self._want(now)

    def _offer(self, offer: Offer, origin: Source | None, now: int) -> None:
        """Hands resources on. `origin`: where they came from; `None` for what is the proxy's own, or of its last run."""
        for encoded in offer.upserts:
            self._discovery.learn(encoded, origin)
            self._filed.note(encoded, origin, now, local=offer.local)
            if encoded.kind == "cluster":
                self._exec_probes.set(encoded.name, encoded.command, now)
            elif encoded.kind == "listener":
                self._doors.offered(encoded)
        self._warming.offer(offer, now)

    def _read_again(self, key: Hashable, now: int) -> None:
        """Files have changed: those of a resource, or one that is a source itself."""
        if not self._filed.knows(key):
            self._discovery.changed_file(key, now)
            return
        made = self._filed.make_again(key, now)
        if made is not None:
            self._offer(*made, now)
            self._busy = True

    def _want(self, now: int) -> None:
        kinds = {XDS_KINDS[demand.kind] for demand in self._warming.demand()} | self._discovery.changed()
        for kind in kinds:
            if not TYPES[kind].wildcard:
                names = self._warming.needed(ENGINE_KINDS[kind])
                self._discovery.want(kind, self._askable(names, kind), now)

    def _askable(self, names: Iterable[str], kind: XdsKind) -> frozenset[str]:
        """Without what stood inline, and secrets that are a proxy's own (they come from beside it, or not at all)."""
        own_secrets = self._boot.own_secrets if kind == "secret" else frozenset[str]()
        return frozenset(name for name in names if name not in own_secrets and not name.startswith(INLINE))

    def _change(self, now: int) -> None:
        """At most one delta."""
        change = self._warming.take(now)
        self._busy = change is not None
        if change is None:
            return
        report = self._engine.apply(_delta(change))
        refused = {(each.resource, each.name): each for each in report.refused}
        self._warming.applied(refused)
        self._applied = True
        self._taken += len(change.upserts)
        self._note(change, refused)
        self._last_good.write(
            Record(MESSAGES[kind], name, "", None) for kind, name in change.removals if kind in MESSAGES
        )

    def _note(self, change: Change, refused: dict[Reference, RefusedResource]) -> None:
        for encoded in change.upserts:
            reference = (encoded.kind, encoded.name)
            if reference in refused:
                self._refuse(refused[reference])
            else:
                self._status.accept(reference)
                self._take_routes(encoded)
        for reference in change.removals:
            self._status.gone(reference)
            self._filed.forget(reference)
            if reference[0] == "cluster":
                self._exec_probes.forget(reference[1])
                self._report_health(self._health.forget(reference[1]), self._clock())
            elif reference[0] == "listener":
                self._doors.gone(reference[1])
        if LEAF_REFERENCE in {(encoded.kind, encoded.name) for encoded in change.upserts} - refused.keys():
            if self._identity is not None:
                self._status.certificate = self._identity.joined
            self._live(lifecycle.IdentityHeld(), self._clock())

    def _take_routes(self, encoded: Encoded) -> None:
        """Routes have come into force: whose answer waited for them has it now."""
        if encoded.kind == "generic_route" and self._registry is not None and self._registry.waits:
            table = msgspec.msgpack.decode(encoded.body, type=plan.RouteTable)
            self._registry.routed(domain for host in table.virtual_hosts for domain in host.domains)

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

    def _judge(self, now: int) -> None:
        refused, self._refused = self._refused, {}
        changed, self._applied = self._applied, False
        verdicts, records = self._intake.decided(
            self._warming.digest, refused, now, changed=changed, check=self._check_waiting
        )
        for verdict in verdicts:
            for refusal in verdict.refused:
                _log.warning("refused", name=refusal.name, path=refusal.path, reason=refusal.reason)
            self._status.judged(verdict)
            self._discovery.judge(verdict, now)
        if records:
            self._last_good.write(records)
        if self._process is None:
            self._look_at_doors(now)

    def _look_at_doors(self, now: int) -> None:
        """A workload that cannot be reached is not healthy; one that was ready stays in rotation when a further port is taken."""
        opened = self._doors.judged(self._warming.digest)
        trouble = self._doors.trouble
        if self._life.state == "starting" or not trouble:
            self._report_health(self._health.hindered(trouble), now)
        if opened:
            self._discovery.resume("listener", now)

    def _check_waiting(self, waiting: Mapping[Reference, str]) -> Mapping[Reference, xds.Refusal]:
        """Which of those that wait, by digest, the engine would refuse anyway."""
        coming = [self._warming.coming(reference) for reference in waiting]
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
            self._warming.refused_waiting(reference)
            self._status.refuse(reference, fault.path, fault.reason)
            found[reference] = xds.Refusal(fault.name, fault.path, fault.reason)
        return found

    def _settle(self, now: int) -> None:
        """What follows from the configuration having come to rest."""
        for stuck in self._warming.stuck(now):
            missing = [f"{kind} {name}" for kind, name in stuck.missing]
            what = "goes on without what it needs" if stuck.goes_on else "waits for what it needs"
            _log.warning(what, kind=stuck.reference[0], name=stuck.reference[1], missing=missing)
        if self._busy or self._intake.busy:
            return
        if not self._reconciled:
            self._reconcile()
        if self._taken >= MANY_RESOURCES:
            self._taken = 0
            self._engine.give_back_memory()
        ads = self._identity.cluster if self._identity is not None else None
        self._discovery.open(self._warming.holds, self._node, ads, self._held_before, now)
        if self._life.state == "starting" and self._is_configured(now):
            self._live(lifecycle.Configured(), now)

    def _is_configured(self, now: int) -> bool:
        """Whether a first configuration is in force and the workload can be reached by it; what waits for longer than its
        patience does not hold it up."""
        if self._doors.trouble or (self._process is not None and not self._process.is_ready):
            return False
        asked, restore = self._discovery.asked, self._restore
        # A control plane that has nothing new for what was restored does not answer.
        restored = restore.has_listeners if "listener" in asked else restore.has_clusters
        if not restored and not asked <= self._answered:
            return False
        deadline = self._warming.next_deadline()
        return deadline is None or now >= deadline

    def _node(self) -> bytes:
        joined = self._identity.joined if self._identity is not None else None
        return self._boot.node if joined is None else own.introduce(self._boot.node, joined)

    def _held_before(self) -> Mapping[XdsKind, dict[str, str]]:
        return self._restore.versions(self._warming.knows)

    # --- the last run ---------------------------------------------------------------------------------------------

    def _restore_some(self) -> None:
        if not self._restore.step():
            return
        self._restoring = False
        offer = self._restore.offer
        self._offer(offer, None, self._clock())
        if offer.upserts:
            _log.info("serves the last good configuration", resources=len(offer.upserts))

    def _reconcile(self) -> None:
        """Removes what the engine holds from a former brain and nobody knows of any more."""
        self._reconciled = True
        leftovers = [
            Removal(held.resource, held.name)
            for held in self._engine.held()
            if not self._warming.knows((held.resource, held.name))
        ]
        if leftovers:
            _log.info("removes what is left over", resources=len(leftovers))
            self._engine.apply(Delta(removals=tuple(leftovers)))


def _delta(change: Change) -> Delta:
    return Delta(
        tuple(Upsert(each.kind, each.name, each.digest, each.body) for each in change.upserts),
        tuple(Removal(kind, name) for kind, name in change.removals),
    )
