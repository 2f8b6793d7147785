"""`mainstay serve`: the composition root of the control plane's process.

In: settings. Out: a program that serves REST, xDS and metrics until it is told to stop. Invariants: every port is bound before
anything starts, and told in the ready file once everything listens; nothing listens beyond loopback but the TLS port of
xDS, and that only where asked. Called by `mainstay.cli.serve`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import grpc
import msgspec

from mainstay.control.debug import LagWatch
from mainstay.control.front import make_engine
from mainstay.control.listening import LOOPBACK, HttpServer, bind, port_of
from mainstay.control.loop import Loop, time_of_day
from mainstay.control.metrics import ControlMetrics
from mainstay.control.pages import build_pages
from mainstay.control.plane import Plane
from mainstay.control.rest.access import write_context
from mainstay.control.rest.build import build_rest
from mainstay.control.rest.tokens import token_routes
from mainstay.control.secure import Secure
from mainstay.control.streams import Streams
from mainstay.identity.audit import AuditTrail
from mainstay.identity.gateway_secrets import open_vault
from mainstay.identity.join_wire import SERVER_ACCOUNT
from mainstay.identity.spiffe import make_identity
from mainstay.settings import HelpAsked, OperatorError, load
from mainstay.settings.serve import ServeSettings
from mainstay.settings.version import program_version
from mainstay.store import SqliteStore, StoreError
from mainstay.telemetry.levels import read_levels
from mainstay.telemetry.log import configure, get_log
from mainstay.xds.serve_grpcio import XdsServer
from mainstay.xds.server.types import Peer

log = get_log("control")

INTERRUPTED = 130
MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""Of one xDS request; a first delta request names every resource that is held."""

GRPC_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.so_reuseport", 0),
)


def main(arguments: Sequence[str]) -> int:
    """Runs the control plane; returns its exit code."""
    try:
        settings = load(ServeSettings, "serve", arguments, os.environ).settings
    except HelpAsked as asked:
        print(asked.text)
        return 0
    try:
        make_identity(settings.trust_domain, settings.root_namespace, SERVER_ACCOUNT)
    except ValueError as error:
        raise OperatorError(f"--trust-domain, --root-namespace: {error}", 2) from None
    try:
        configure(settings.log.level, read_levels(settings.log.levels).own, settings.log.format)
    except ValueError as error:
        raise OperatorError(f"--log-levels: {error}", 2) from None
    return asyncio.run(serve(settings))


async def serve(settings: ServeSettings) -> int:
    """The program, on a running loop."""
    state = _prepare_state(settings.state)
    lock = _lock_state(state)
    api_socket = bind(settings.api.port, "the REST API", "--api-port")
    metrics_socket = bind(settings.metrics_port, "metrics", "--metrics-port")
    try:
        store = SqliteStore(state / "store.sqlite", time_of_day)
    except StoreError as error:
        raise OperatorError(str(error)) from None
    trail = AuditTrail(state / "audit.log", time_of_day)
    vault = open_vault(state / "secrets.key")
    log.info("audit trail", newest=trail.newest)

    loop, lag = Loop(), LagWatch()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, loop.end)
    plane = Plane(settings, store, vault, trail.write)
    secure = Secure(settings, state, store, trail.write, time_of_day)
    streams = Streams(plane.proxies, plane.workloads, plane, secure.judge, trail.write, plane.is_synced)
    xds = XdsServer(streams, plane.clock.now)
    metrics = ControlMetrics(
        plane.graph,
        plane.rounds,
        plane.intake,
        loop,
        lag,
        plane.proxies.stream_count,
        plane.proxies.count_states,
    )
    credential = write_context(settings.api.context, f"http://{LOOPBACK}:{port_of(api_socket)}")
    rest = HttpServer(build_rest(plane, credential, token_routes(secure.tokens, trail.write)), api_socket)
    pages = HttpServer(build_pages(metrics.render, plane.graph, plane.waiting), metrics_socket)

    loop.spawn("lag watch", lag.run(), vital=False)
    plane.spawn(loop)
    loop.spawn("xds", xds.run())
    ports = {"api": port_of(api_socket), "metrics": port_of(metrics_socket)}
    ports["xds"] = await secure.serve(loop, make_engine(settings.log), xds, GRPC_OPTIONS, streams.leave)
    if settings.insecure_xds:
        ports["plaintext"] = await _serve_plaintext(loop, xds, settings.xds.plaintext_port, streams)
    loop.spawn("metrics pages", pages.run(), drain=pages.stop)
    loop.spawn("rest", rest.run(), drain=rest.stop)
    _write_ready(settings.ready_file, ports)
    log.info("control plane is up", version=program_version(), **ports)
    try:
        await loop.run()
    finally:
        await asyncio.to_thread(store.close)
        trail.close()
        lock.close()
    return 0


def _prepare_state(path: Path) -> Path:
    path = path.expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
    except OSError as error:
        raise OperatorError(
            f"cannot use the state directory {path}: {error.strerror}. --state chooses another"
        ) from None
    return path


def _lock_state(state: Path) -> BinaryIO:
    """Holds the directory until the file is closed or the process ends: two would tear the audit trail's chain."""
    try:
        file = (state / "lock").open("ab")
    except OSError as error:
        raise OperatorError(
            f"cannot write {state / 'lock'}: {error.strerror}. --state chooses another directory"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise OperatorError(
            f"another control plane uses the state directory {state}: stop it, or choose another with --state"
        ) from None
    return file


async def _serve_plaintext(loop: Loop, xds: XdsServer, port: int, streams: Streams) -> int:
    """xDS on loopback for whoever comes; returns the port."""
    server = grpc.aio.server(options=GRPC_OPTIONS)
    server.add_generic_rpc_handlers((xds.handler(_identify_plaintext),))
    bound = _bind_grpc(server, port)
    await server.start()

    async def stop() -> None:
        streams.leave()
        await server.stop(1)

    loop.spawn("plaintext xds", server.wait_for_termination(), drain=stop)
    log.warning("xDS without TLS or identity", address=f"{LOOPBACK}:{bound}")
    return bound


def _bind_grpc(server: grpc.aio.Server, port: int) -> int:
    try:
        return int(server.add_insecure_port(f"{LOOPBACK}:{port}"))
    except RuntimeError:
        raise OperatorError(
            f"cannot listen on {LOOPBACK}:{port} for plaintext xDS: is another control plane running? "
            "--xds-plaintext-port chooses another port, 0 any free one"
        ) from None


def _write_ready(path: Path | None, ports: dict[str, int]) -> None:
    """Replaces the ready file whole, so that a reader never sees half of it."""
    if path is None:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(msgspec.json.encode(ports))
        os.replace(temporary, path)
    except OSError as error:
        raise OperatorError(f"cannot write the ready file {path}: {error.strerror}") from None


def _identify_plaintext(context: Any) -> Peer:
    """Plaintext streams on loopback have no identity: `--insecure-xds` says that this is wanted."""
    return Peer(address=str(context.peer()), insecure=True)
