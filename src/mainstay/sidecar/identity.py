"""The certificates machine at work: keys of the engine, the file on disk, the three clusters of the control plane.

In: the machine's commands. Out: events for it, and resources for warming (`offers`). Invariant: the leaf, the roots and the
cluster that uses them come in force in this order, by warming's rules; what joining needed is removed once there is a leaf.
Each leaf gets a cluster of its own towards the control plane: a connection shows the leaf it began with for as long as it lasts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

from mainstay.engine import EngineError, GrpcClosed, GrpcMessage
from mainstay.identity.join_wire import BundleAnswer, Joined
from mainstay.sidecar import certificates, plan
from mainstay.sidecar.bootstrap import own
from mainstay.sidecar.border import Lease
from mainstay.sidecar.convert.references import Reference
from mainstay.sidecar.convert.table import Encoded, encode
from mainstay.sidecar.leaf_file import LeafFile, Stored
from mainstay.sidecar.link import Answer, Call
from mainstay.sidecar.warming import Offer
from mainstay.telemetry.log import get_log

_log = get_log("sidecar.identity")
MAX_TOKEN_BYTES = 16 * 1024
LEAF_REFERENCE: Reference = ("secret", own.LEAF)


class Identity:
    """See the module. `host`, `port`: the control plane's. `wall`: Unix ms. `keep` hears of each leaf with its key (PEM): a proxy
    beside an agent needs both as files."""

    def __init__(
        self,
        machine: certificates.Certificates,
        lease: Lease,
        file: LeafFile,
        token_file: Path | None,
        host: str,
        port: int,
        wall: Callable[[], int],
        keep: Callable[[Joined, str], None] | None = None,
    ) -> None:
        self._machine = machine
        self._lease = lease
        self._file = file
        self._token_file = token_file
        self._host = host
        self._port = port
        self._wall = wall
        self._keep = keep
        self._call = Call(lease)
        self._waiting_call: tuple[str, certificates.Call] | None = None
        self._queue: deque[certificates.Event] = deque()
        self._leaf_key: int | None = None
        self._timer_at: int | None = None
        self._leaves = 0
        self._retiring: str | None = None
        """The cluster of the former leaf, until that of the new one is in force."""
        self._joining: set[Reference] = set()
        """What only joining needed."""
        self.offers: list[Offer] = []
        self.report = certificates.Report("")

    @property
    def cluster(self) -> str:
        """The cluster whose connections show the present leaf."""
        return own.XDS_CLUSTER if self._leaves < 2 else f"{own.XDS_CLUSTER}-{self._leaves}"

    @property
    def joined(self) -> Joined | None:
        return self._machine.joined

    def start(self) -> None:
        """Takes what is on disk."""
        key: int | None = None
        joined: Joined | None = None
        try:
            stored = self._file.load()
            if stored is not None:
                key, joined = self._lease.import_key(stored.key.encode()), stored.joined
        except (OSError, EngineError) as error:
            _log.error("the identity on disk is of no use", reason=error)
            key, joined = None, None
        self._feed(certificates.Begun(key, joined))

    def take(self, event: GrpcMessage | GrpcClosed) -> None:
        """An event of a call, which need not be ours."""
        outcome = self._call.take(event)
        if outcome is None:
            return
        if isinstance(outcome, Answer):
            self._feed(certificates.Answered(outcome.body))
        else:
            self._feed(certificates.Failed(outcome.status, outcome.words))

    def tick(self, now: int, holds: Callable[[Reference], bool]) -> None:
        """Looks at the clocks, and opens a call whose cluster has come in force."""
        expired = self._call.expire(now)
        if expired is not None:
            self._feed(certificates.Failed(expired.status, expired.words))
        if self._timer_at is not None and self._wall() >= self._timer_at:
            self._timer_at = None
            self._feed(certificates.TimerFired())
        if self._retiring is not None and holds(("cluster", self.cluster)):
            self.offers.append(Offer(removals=(("cluster", self._retiring),), local=True))
            self._retiring = None
        if self._waiting_call is not None and holds(("cluster", self._waiting_call[0])):
            cluster, call = self._waiting_call
            self._waiting_call = None
            self._call.ask(cluster, call.path, call.message, now)

    def next_deadline(self, now: int) -> int | None:
        """Monotonic ms."""
        times = [self._call.deadline] if self._call.deadline is not None else []
        if self._timer_at is not None:
            times.append(now + max(0, self._timer_at - self._wall()))
        return min(times, default=None)

    def _feed(self, event: certificates.Event) -> None:
        self._queue.append(event)
        while self._queue:
            for command in self._machine.handle(self._queue.popleft(), self._wall()):
                self._perform(command)

    def _perform(self, command: certificates.Command) -> None:
        match command:
            case certificates.ReadToken():
                self._queue.append(self._read_token())
            case certificates.MakeRequest():
                self._queue.append(self._make_request(command))
            case certificates.Trusted(bundle):
                self._trust(bundle)
            case certificates.Call():
                self._ask(command)
            case certificates.Install():
                self._install(command)
            case certificates.SetTimer(at):
                self._timer_at = at
            case certificates.Report():
                self._tell(command)

    def _read_token(self) -> certificates.TokenRead:
        if self._token_file is None:
            return certificates.TokenRead(None, "no --control-plane-join-token-file is set")
        try:
            with self._token_file.open("rb") as file:
                return certificates.TokenRead(file.read(MAX_TOKEN_BYTES).decode())
        except (OSError, UnicodeDecodeError) as error:
            return certificates.TokenRead(None, str(error))

    def _make_request(self, command: certificates.MakeRequest) -> certificates.KeyMade:
        key = command.key if command.key is not None else self._lease.generate_key()
        if command.save:
            self._save(Stored(self._lease.engine.export_key(key).decode()))
        return certificates.KeyMade(key, self._lease.engine.make_csr(key, command.uri))

    def _ask(self, call: certificates.Call) -> None:
        match call.trust:
            case "unverified":
                cluster = own.first_contact(self._host, self._port)
            case "bundle":
                assert self._server is not None
                cluster = own.joining(self._host, self._port, self._server)
            case "leaf":
                self._waiting_call = (self.cluster, call)
                return
        self._joining.add(("cluster", cluster.name))
        self._offer(cluster)
        self._waiting_call = (cluster.name, call)

    _server: str | None = None

    def _trust(self, bundle: BundleAnswer) -> None:
        self._server = bundle.server
        roots = "".join(bundle.roots).encode()
        self._offer(plan.Secret(own.ROOTS, plan.ValidationMaterial(plan.ValidationContext(roots))))

    def _install(self, command: certificates.Install) -> None:
        joined = command.joined
        if command.save or self._keep is not None:
            key = self._lease.engine.export_key(command.key).decode()
            if command.save:
                self._save(Stored(key, joined))
            if self._keep is not None:
                self._hand_on(joined, key)
        self._trust(joined.bundle)
        chain = plan.CertificateChain(joined.chain.encode(), b"", command.key)
        self._retiring = self.cluster if self._leaves else None
        self._leaves += 1
        self._offer(
            plan.Secret(own.LEAF, plan.CertificateMaterial(chain)),
            own.joined(self.cluster, self._host, self._port, joined.bundle.server),
        )
        if self._joining:
            self.offers.append(Offer(removals=tuple(sorted(self._joining)), local=True))
            self._joining.clear()
        before, self._leaf_key = self._leaf_key, command.key
        if before is not None and before != command.key:
            self._lease.forget_key(before)
        _log.info("holds a certificate", identity=joined.identity, ends=joined.not_after)

    def _hand_on(self, joined: Joined, key: str) -> None:
        assert self._keep is not None
        try:
            self._keep(joined, key)
        except OSError as error:
            _log.error("cannot keep the certificate as files", reason=error)

    def _offer(self, *resources: plan.Resource) -> None:
        encoded: tuple[Encoded, ...] = tuple(encode(resource) for resource in resources)
        self.offers.append(Offer(encoded, local=True))

    def _save(self, stored: Stored) -> None:
        try:
            self._file.save(stored)
        except OSError as error:
            _log.error("cannot keep the identity on disk", reason=error)

    def _tell(self, report: certificates.Report) -> None:
        self.report = report
        if report.trouble:
            _log.warning(report.trouble, reason=report.reason)
