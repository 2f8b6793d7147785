"""The brain: one loop in which events of the engine meet machines, and at most one change goes back a turn.

In: events (`engine.wait`), files of the last run. Out: calls to the engine. Invariants: machines never call each other, the
wiring is here (`_take`); a turn is wait → events → clocks → conversion → one change → verdicts; what it did not build itself
(engine, lifecycle, last good files) it leaves whole when it dies, for the next brain. Resources have a half of their own,
`configuration`; here is who lives, who is asked, who is told. Run by `main`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable

import msgspec

from mainstay.engine import (
    Asked,
    Drained,
    EndpointHealth,
    Event,
    GrpcClosed,
    GrpcMessage,
    GrpcOpened,
    ListenerBound,
    RefusedEvent,
    Signal,
    Stopped,
    Timer,
    Trouble,
    Warmed,
)
from mainstay.settings.sidecar import Probe
from mainstay.sidecar import lifecycle, pages, plan
from mainstay.sidecar.beside import Beside, ProxyDrained, ProxyGone, ProxyReady
from mainstay.sidecar.bootstrap import own
from mainstay.sidecar.bootstrap.boot import Boot
from mainstay.sidecar.border import Lease
from mainstay.sidecar.configuration import Configuration, InForce
from mainstay.sidecar.convert.gathered import ReadFile
from mainstay.sidecar.convert.table import Encoded, encode
from mainstay.sidecar.ending import STOP_SIGNALS
from mainstay.sidecar.exec_probe import Start
from mainstay.sidecar.files import Stamp
from mainstay.sidecar.health import PROXY_NOT_READY, Health
from mainstay.sidecar.identity import LEAF_REFERENCE, Identity
from mainstay.sidecar.last_good import LastGood
from mainstay.sidecar.registry_api.serve import RegistryApi
from mainstay.sidecar.status import Status
from mainstay.sidecar.warming import Offer
from mainstay.telemetry.log import get_log
from mainstay.xds.client import types as xds

_log = get_log("sidecar.brain")
LONGEST_WAIT_MS = 30_000
APPLICATION_PROBE = own.probe_name(own.APPLICATION)
METRICS_MS = 1_000
"""Wall clocks jump: certificates are looked at this often at least."""


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
        self._configuration = Configuration(
            lease, boot, last_good, status, clock, random, read_file, stamp, start
        )
        self._discovery = self._configuration.discovery
        self._warming = self._configuration.warming
        self._registry = registry
        self._application_probe: Probe | None = None
        self._beside = beside
        self._process = beside if beside is not None and beside.runs else None
        self._linger = 0
        self._health = Health("" if self._process is None or self._process.is_ready else PROXY_NOT_READY)
        self._metrics = ""
        self._metrics_at = 0
        self._metrics_due = False
        self._drain_token: int | None = None
        self.untaken: deque[Event] = deque()
        """Events of this turn that are still to be taken: for the next brain, if this one dies of the one before them."""
        self.ended = False

    # --- the loop -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Takes up the work over an engine that may hold the former brain's configuration."""
        for command in self._life.resume(self._clock()):
            self._carry_out(command)
        self._configuration.start()
        if self._identity is not None:
            self._identity.start()
        self._follow_application(self._clock())
        if self._boot.is_dynamic:
            self._configuration.begin_to_restore()

    def run(self, before: Iterable[Event] = ()) -> None:
        """Turns until the end. `before`: events that came while there was no brain."""
        self.untaken.extend(before)
        self.start()
        self._take_all()
        try:
            while not self.ended:
                self.turn()
        finally:
            self._configuration.stop()

    def turn(self) -> None:
        self.untaken.extend(self._engine.wait(self._patience(self._clock())))
        self._take_all()
        now = self._clock()
        self._look_at_clocks(now)
        self._look_beside(now)
        configuration = self._configuration
        if configuration.restoring:
            configuration.restore_some()
            return
        configuration.convert(self._own_offers(), now)
        configuration.judge(now)
        if self._process is None:
            self._look_at_doors(now)
        self._follow(configuration.change(now), now)
        ads = self._identity.cluster if self._identity is not None else None
        if configuration.settle(self._node, ads, now):
            self._look_at_start(now)
        self._tell_metrics(now)

    def _tell_metrics(self, now: int) -> None:
        """Figures for `/stats/prometheus`, at most each second."""
        self._metrics_due = now < self._metrics_at
        if self._configuration.moving or self._metrics_due:
            return
        held: Counter[str] = Counter(kind for kind, _ in self._warming.held())
        text = self._status.metrics(held, len(self._warming.waiting()))
        if text != self._metrics:
            self._metrics, self._metrics_at = text, now + METRICS_MS
            self._engine.set_metrics(text)

    def _patience(self, now: int) -> int:
        """How long the engine may let us wait."""
        if self._configuration.busy:
            return 0
        deadlines = [
            *self._configuration.next_deadlines(now),
            self._registry.next_deadline() if self._registry is not None else None,
            self._metrics_at if self._metrics_due else None,
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
                self._configuration.refused_late(event, now)
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
            gone = Offer(removals=(("cluster", APPLICATION_PROBE),), local=True)
            self._configuration.offer(gone, None, now)
        else:
            if self._registry.take_revived():
                self._report_health(self._health.expect(APPLICATION_PROBE), now)
            cluster = own.probe_cluster(probe, probe.port, own.APPLICATION)
            self._configuration.offer(Offer((encode(cluster),), local=True), None, now)

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
        if self._registry is not None:
            self._registry.tick(now)
        for verdict in self._configuration.tick(now):
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

    # --- the configuration ----------------------------------------------------------------------------------------

    def _own_offers(self) -> list[Offer]:
        """What the workload's identity brings."""
        if self._identity is None:
            return []
        offers, self._identity.offers = self._identity.offers, []
        return offers

    def _follow(self, change: InForce, now: int) -> None:
        """What has come in force, or gone, and who has to know."""
        for encoded in change.taken:
            self._take_routes(encoded)
        for kind, name in change.gone:
            if kind == "cluster":
                self._report_health(self._health.forget(name), now)
        if LEAF_REFERENCE in {(encoded.kind, encoded.name) for encoded in change.taken}:
            if self._identity is not None:
                self._status.certificate = self._identity.joined
            self._live(lifecycle.IdentityHeld(), now)

    def _take_routes(self, encoded: Encoded) -> None:
        """Routes have come into force: whose answer waited for them has it now."""
        if encoded.kind == "generic_route" and self._registry is not None and self._registry.waits:
            table = msgspec.msgpack.decode(encoded.body, type=plan.RouteTable)
            self._registry.routed(domain for host in table.virtual_hosts for domain in host.domains)

    def _look_at_doors(self, now: int) -> None:
        """A workload that cannot be reached is not healthy; one that was ready stays in rotation when a further port is taken."""
        opened, trouble = self._configuration.judge_doors()
        if self._life.state == "starting" or not trouble:
            self._report_health(self._health.hindered(trouble), now)
        if opened:
            self._discovery.resume("listener", now)

    def _look_at_start(self, now: int) -> None:
        """Whether the start is over: a first configuration is in force, and the workload can be reached by it."""
        if self._life.state != "starting" or self._configuration.doors.trouble:
            return
        if (self._process is None or self._process.is_ready) and self._configuration.is_whole(now):
            self._live(lifecycle.Configured(), now)

    def _node(self) -> bytes:
        joined = self._identity.joined if self._identity is not None else None
        return self._boot.node if joined is None else own.introduce(self._boot.node, joined)
