"""The one TLS port of xDS, join and renewal: an engine of our own before grpcio.

grpcio's Python server either demands a client certificate or never asks for one; join needs a port where it is optional. So the
engine terminates TLS, tells who the client was in `x-forwarded-client-cert` (replacing whatever the client sent under that
name), and passes on over a Unix socket in a folder of mode 0700, where nobody else can speak for it.

In: the address, the socket behind, the control plane's leaf and the roots. Out: a listening port; `peer` reads what the
front told. Invariants: without a client certificate there is no identity; one that does not verify ends the
handshake; the leaf is renewed in place, no connection is dropped for it. Built by `main`.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import msgspec

from mainstay import engine
from mainstay.identity import certificates, renewal
from mainstay.identity.join_wire import SERVER_ACCOUNT, SERVER_NAME
from mainstay.identity.signer import LeafRequest, Signer, SignerError
from mainstay.model.digest import digest_of_bytes
from mainstay.model.identity import Identity, TrustBundle
from mainstay.settings import OperatorError
from mainstay.settings.serve import Log
from mainstay.sidecar import plan
from mainstay.telemetry.levels import read_levels
from mainstay.telemetry.log import get_log

log = get_log("front")

LEAF = "server"
ROOTS = "roots"
CLUSTER = "grpc"
LISTENER = "front"

SOCKET = "grpc.sock"
MAX_SOCKET_PATH = 100
"""Linux takes 107 bytes, others 103."""

MAX_CONNECTIONS = 50_000
STREAMS_A_CONNECTION = 100
HANDSHAKE_MS = 10_000
PING_EVERY_MS, PONG_WITHIN_MS = 30_000, 20_000
"""A half-open stream is noticed within this."""
CONNECTION_LIFE_MS = 300_000
"""A connection shows the leaf it began with. Proxies that are not ours open new streams on the connection they have, and would
come with an expired leaf for ever; an old connection says good-bye (GOAWAY), and its streams go on until they end."""
BOUND_MS = 10_000
DRAIN_MS = 1_000
WAIT_MS = 1_000


class FrontEngine(Protocol):
    """As much of `engine.Engine` as the front uses."""

    def apply(self, delta: engine.Delta) -> engine.ApplyReport: ...
    def wait(self, timeout_milliseconds: int) -> list[engine.Event]: ...
    def listeners(self) -> list[tuple[str, str]]: ...
    def drain(self, scope: engine.DrainScope, min_milliseconds: int, max_milliseconds: int) -> int: ...
    def shutdown(self, deadline_milliseconds: int) -> None: ...


class Leaf(msgspec.Struct, frozen=True):
    """The control plane's own certificate."""

    chain: str
    key: bytes

    def __repr__(self) -> str:
        return "Leaf(…)"


# --- what the engine is told --------------------------------------------------------------------------------------


def server_identity(trust_domain: str, root_namespace: str) -> Identity:
    """Who the control plane is: proxies look for this SPIFFE ID in its certificate."""
    return Identity(trust_domain, root_namespace, SERVER_ACCOUNT)


def leaf_secret(leaf: Leaf) -> plan.Secret:
    chain = plan.CertificateChain(leaf.chain.encode(), leaf.key)
    return plan.Secret(LEAF, plan.CertificateMaterial(chain))


def roots_secret(bundle: TrustBundle) -> plan.Secret:
    """Clients are verified by the roots of their trust domain; a certificate without a SPIFFE ID by none."""
    roots = "".join(bundle.roots).encode()
    domains = (plan.TrustDomainBundle(bundle.trust_domain, roots),)
    return plan.Secret(ROOTS, plan.ValidationMaterial(plan.ValidationContext(b"", domains)))


def cluster_behind(socket: Path) -> plan.Cluster:
    """grpcio on its Unix socket, without limits of its own: the listener has them."""
    endpoint = plan.Endpoint(plan.Pipe(str(socket)))
    unlimited = plan.Thresholds(max_connections=None, max_pending=None, max_requests=None)
    return plan.Cluster(
        CLUSTER,
        plan.StaticDiscovery((plan.LocalityEndpoints(plan.Locality(), 0, 1, (endpoint,)),)),
        http=plan.UpstreamHttp(
            protocol="http2",
            http2=plan.Http2Options(max_concurrent_streams=MAX_CONNECTIONS, connection_window=64 * 1_048_576),
            idle_timeout=None,
        ),
        breakers=plan.CircuitBreakers(unlimited, unlimited),
    )


def front_listener(address: plan.Address, life: int | None = None) -> plan.Listener:
    """HTTP/2 over TLS with an optional client certificate; everything goes on to grpcio, for as long as it likes. `life`: age at
    which a connection takes no further streams."""
    manager = plan.HttpConnectionManager(
        LISTENER,
        plan.InlineRoutes(_routes()),
        protocol="http2",
        use_remote_address=True,
        forward_client_certificate="sanitize_set",
        client_certificate_details=plan.ClientCertificate(cert=True, uri=True),
        stream_idle_timeout=None,
        idle_timeout=None,
        max_connection_duration=life,
        http2=plan.Http2Options(
            max_concurrent_streams=STREAMS_A_CONNECTION,
            keepalive_interval=PING_EVERY_MS,
            keepalive_timeout=PONG_WITHIN_MS,
        ),
        generate_request_id=False,
        server_name=None,
    )
    tls = plan.DownstreamTls(
        certificates=(LEAF,),
        validation=ROOTS,
        alternative_names=plan.AlternativeNames(),
        require_client_certificate=False,
        application_protocols=("h2",),
    )
    chain = plan.FilterChain(LISTENER, plan.HttpTerminal(manager), tls=tls, handshake_timeout=HANDSHAKE_MS)
    return plan.Listener(LISTENER, address, (chain,), direction="inbound", connection_limit=MAX_CONNECTIONS)


def _routes() -> plan.RouteTable:
    forward = plan.ForwardAction(
        upstreams=plan.OneCluster(CLUSTER),
        path_rewrite=None,
        host_rewrite=None,
        append_forwarded_host=False,
        timeout=None,
        idle_timeout=None,
        unlimited_idle=True,
        max_duration=None,
        grpc_timeout_max=None,
        retry=None,
        mirrors=(),
        upgrades=(),
        cluster_not_found_status=503,
        high_priority=False,
        internal_redirect=None,
    )
    route = plan.Route("all", plan.RouteMatch(plan.PrefixPath("/")), forward)
    return plan.RouteTable(LISTENER, (plan.VirtualHost("all", ("*",), (route,)),))


def upsert(resource: plan.Resource) -> engine.Upsert:
    """A plan struct as the engine takes it."""
    kinds: dict[type, tuple[engine.Kind, str]] = {
        plan.Secret: ("secret", "name"),
        plan.Cluster: ("cluster", "name"),
        plan.Listener: ("listener", "name"),
    }
    kind, field = kinds[type(resource)]
    body = plan.encode(resource)
    return engine.Upsert(kind, getattr(resource, field), digest_of_bytes(body).hex(), body)


# --- the front at work --------------------------------------------------------------------------------------------


class Front:
    """See the module. `folder` is for the socket (`socket_folder`); `bind` and `port` are where it listens; `now` is Unix ms;
    `random` gives numbers in [0, 1)."""

    def __init__(
        self,
        made: FrontEngine,
        signer: Signer,
        identity: Identity,
        folder: Path,
        bind: str,
        port: int,
        life: int,
        now: Callable[[], int],
        random: Callable[[], float],
    ) -> None:
        self._engine = made
        self._signer = signer
        self._identity = identity
        self._bind = bind
        self._port = port
        self._life = life
        self._connection_life = min(CONNECTION_LIFE_MS, life // 4)
        self._now = now
        self._renewal = renewal.Renewal(random)
        self._timer: asyncio.TimerHandle | None = None
        self._bundle: TrustBundle | None = None
        self._stopping = False
        # The engine is waited for on a thread of its own, so that the loop's workers stay free.
        self._waiter = ThreadPoolExecutor(1, thread_name_prefix="front")
        self._folder = folder
        self.socket = folder / SOCKET

    def start(self) -> int:
        """Listens; returns the port. Raises `OperatorError` if it cannot. grpcio should serve `socket` by now."""
        self._renew()
        address = plan.Socket(self._bind, self._port)
        self._apply(
            upsert(cluster_behind(self.socket)), upsert(front_listener(address, self._connection_life))
        )
        return self._bound_port()

    async def run(self) -> None:
        """Takes the engine's events until `stop`."""
        loop = asyncio.get_running_loop()
        self._arm()
        while True:
            for event in await loop.run_in_executor(self._waiter, self._engine.wait, WAIT_MS):
                match event:
                    case engine.Stopped():
                        return
                    case engine.RefusedEvent():
                        log.error(
                            "front refused", resource=event.resource, name=event.name, reason=event.reason
                        )
                    case engine.Trouble():
                        log.error("front is in trouble", what=event.what)
                    case _:
                        pass

    async def stop(self) -> None:
        """Says good-bye to clients, then ends the engine; `run` returns."""
        if self._stopping:
            return
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        self._engine.drain("process", 0, DRAIN_MS)
        await asyncio.to_thread(self._engine.shutdown, 2 * DRAIN_MS)
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- its leaf -------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Looks after the leaf now, and again when the machine says so."""
        self._carry_out(self._renewal.handle(renewal.TimerFired(), self._now()))

    def _renew(self) -> None:
        """A new key and leaf, put in force at once; connections stay."""
        key = certificates.make_key()
        addresses = tuple(dict.fromkeys(["127.0.0.1", "::1", *_own_address(self._bind)]))
        request = LeafRequest(
            self._identity.spiffe, key.public_key(), self._life, (SERVER_NAME, "localhost"), addresses
        )
        chain = self._signer.sign(request)
        bundle = self._signer.bundle()
        changes = [upsert(leaf_secret(Leaf(chain.pem, certificates.pem_of_key(key))))]
        if bundle != self._bundle:
            self._bundle = bundle
            changes.append(upsert(roots_secret(bundle)))
        self._apply(*changes)
        log.info(
            "own certificate", identity=self._identity.spiffe, serial=chain.serial, until=chain.not_after
        )
        # It is backdated, for clocks that go wrong: its life begins now, or a short one would be over half at once.
        now = self._now()
        self._carry_out(self._renewal.handle(renewal.LeafIssued(now, chain.not_after), now))

    def _carry_out(self, commands: list[renewal.Command]) -> None:
        for command in commands:
            match command:
                case renewal.Renew():
                    try:
                        self._renew()
                    except (SignerError, OperatorError) as error:
                        self._carry_out(self._renewal.handle(renewal.RenewalFailed(str(error)), self._now()))
                case renewal.SetTimer():
                    self._set_timer(command.at)
                case renewal.Report():
                    if command.trouble:
                        log.error("own certificate", trouble=command.trouble, reason=command.reason)

    def _set_timer(self, at: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # before the loop runs; `run` arms it
        self._timer = loop.call_later(max(0, at - self._now()) / 1_000, self._arm)

    # --- the engine -----------------------------------------------------------------------------------------------

    def _apply(self, *upserts: engine.Upsert) -> None:
        report = self._engine.apply(engine.Delta(upserts))
        if report.refused:
            first = report.refused[0]
            raise OperatorError(
                f"the front cannot use its {first.resource} {first.name}: {first.path} {first.reason}"
            )

    def _bound_port(self) -> int:
        """The engine says when the socket is there."""
        deadline = self._now() + BOUND_MS
        while self._now() < deadline:
            for name, address in self._engine.listeners():
                if name == LISTENER:
                    return int(address.rpartition(":")[2])
            for event in self._engine.wait(100):
                if isinstance(event, engine.RefusedEvent) and event.name == LISTENER:
                    raise OperatorError(
                        f"cannot listen on {self._bind}:{self._port} for xDS: {event.reason}. Is another control plane "
                        "running? --xds-port chooses another port, 0 any free one"
                    )
        raise OperatorError(
            f"the port {self._bind}:{self._port} of xDS did not open within {BOUND_MS // 1_000} s"
        )


def socket_folder(state: Path) -> Path:
    """A folder of mode 0700, empty, whose name is short enough for the path of a Unix socket: of the state if that will do."""
    folder = state / "run"
    if len(str(folder / SOCKET)) > MAX_SOCKET_PATH:
        return Path(tempfile.mkdtemp(prefix="mainstay-"))
    shutil.rmtree(folder, ignore_errors=True)  # of a control plane that was killed
    folder.mkdir(mode=0o700, parents=True)
    return folder


def make_engine(log: Log) -> engine.Engine:
    """The control plane's engine: no admin pages, one worker; its log is one with the program's."""
    settings = plan.EngineSettings("control-plane", workers=1, log_json=log.format == "json")
    try:
        made = engine.Engine(settings)
        made.set_log_level("", log.level)
        for room, level in read_levels(log.levels).engine.items():
            made.set_log_level(room, level)
    except engine.EngineError as error:
        raise OperatorError(f"the engine does not start: {error}") from None
    return made


def _own_address(bind: str) -> list[str]:
    return [] if bind in ("0.0.0.0", "::") else [bind]
