"""What the engine finds out by itself: names, and the health of endpoints."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from engine_plans import LOOPBACK, cluster, forward, http_chain, listener, routes
from engine_wire import Reader, echo, request, response

from mainstay.engine import EndpointHealth, Warmed
from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_live import Live, Server

    Serve = Callable[..., Server]


def ask(live: Live, path: str = "/") -> bytes:
    with live.dial("web") as client:
        client.sendall(request("GET", path))
        return Reader(client).message().body


def checked(kind: plan.HealthCheckKind) -> tuple[plan.HealthCheck, ...]:
    return (plan.HealthCheck(kind, 1_000, 50, 0, 1, 1, plan.Fraction(100, 100)),)


def test_a_name_is_resolved_before_its_cluster_is_in_force(live: Live, serve: Serve) -> None:
    endpoint = plan.Endpoint(plan.NamedAddress("localhost", serve(echo).port))
    locality = plan.LocalityEndpoints(plan.Locality(), 0, 1, (endpoint,))
    named = plan.Cluster("app", plan.StrictDnsDiscovery((locality,), 60_000, False))
    live.apply(named, listener("web", http_chain(routes(("/", forward("app"))))))
    assert live.event(Warmed) == Warmed("cluster", "app")
    assert ask(live, "/named") == b"GET /named "


def test_an_endpoint_that_fails_its_check_gets_no_requests(live: Live, serve: Serve) -> None:
    sick = [False]

    def moody(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            message = reader.message()
            if "/health" in message.start:
                connection.sendall(response(503 if sick[0] else 200))
            else:
                connection.sendall(response(200, b"moody"))

    def steady(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            reader.message()
            connection.sendall(response(200, b"steady"))

    first, second = serve(moody), serve(steady)
    check = checked(plan.HttpHealthCheck("app", "/health", (), (), False))
    app = cluster("app", first.port, second.port, health_checks=check, panic_threshold=0)
    live.apply(app, listener("web", http_chain(routes(("/", forward("app"))))))
    live.event(Warmed)
    assert {ask(live) for _ in range(10)} == {b"moody", b"steady"}
    sick[0] = True
    changed = EndpointHealth("app", f"{LOOPBACK}:{first.port}", False)
    while live.event(EndpointHealth) != changed:
        pass
    assert {ask(live) for _ in range(10)} == {b"steady"}
    sick[0] = False
    while live.event(EndpointHealth) != EndpointHealth("app", f"{LOOPBACK}:{first.port}", True):
        pass
    assert {ask(live) for _ in range(10)} == {b"moody", b"steady"}


def test_a_tcp_check_needs_somebody_who_listens(live: Live, serve: Serve) -> None:
    with socket.create_server((LOOPBACK, 0)) as unused:
        port = unused.getsockname()[1]
    app = cluster("app", serve(echo).port, port, health_checks=checked(plan.TcpHealthCheck()))
    live.apply(app, listener("web", http_chain(routes(("/", forward("app"))))))
    while live.event(EndpointHealth) != EndpointHealth("app", f"{LOOPBACK}:{port}", False):
        pass
    live.event(Warmed)
    assert {ask(live) for _ in range(10)} == {b"GET / "}
