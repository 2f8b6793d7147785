"""Routing, retries, limits and health on a live engine: what reaches an endpoint, what does not, and what the client is told."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from engine_live import stat
from engine_plans import LOOPBACK, cluster, forward, http_chain, listener, routes, tcp_chain
from engine_wire import Reader, echo, request, response

from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_live import Live, Server

    Serve = Callable[..., Server]


class Seen:
    """A server that keeps the heads it saw and answers with its status and name."""

    def __init__(self, name: bytes = b"", status: int = 200, *fields: str) -> None:
        self.heads: list[tuple[str, dict[str, str]]] = []
        self.name, self.status, self.fields = name, status, fields
        self.came = threading.Semaphore(0)

    def __call__(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            try:
                message = reader.message()
            except EOFError:
                return
            self.heads.append((message.start, message.headers))
            self.came.release()
            connection.sendall(response(self.status, self.name, *self.fields))


def ask(live: Live, path: str = "/", *fields: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    with live.dial("web") as client:
        client.sendall(request(method, path, *fields))
        answer = Reader(client).message()
        return answer.status, answer.headers, answer.body


def retry(*on: str, attempts: int = 2) -> plan.RetryPolicy:
    return plan.RetryPolicy(on, attempts, None, None, plan.BackOff(1, 10), (), (), (), True, 5)


def test_a_mirror_gets_the_request_and_nobody_its_answer(live: Live, serve: Serve) -> None:
    main, shadow = Seen(b"main"), Seen(b"shadow", 500)
    action = forward("main", mirrors=(plan.Mirror("shadow", None, shadow_host=True),))
    live.apply(
        cluster("main", serve(main).port),
        cluster("shadow", serve(shadow).port),
        listener("web", http_chain(routes(("/", action)))),
    )
    assert ask(live, "/a")[::2] == (200, b"main")
    assert shadow.came.acquire(timeout=10)
    start, headers = shadow.heads[0]
    assert (start, headers["host"]) == ("GET /a HTTP/1.1", "test-shadow")


@pytest.mark.parametrize(
    ("redirect", "location"),
    [
        (plan.Redirect("https", "", None, None, None, 301, strip_query=True), "https://test/a/b"),
        (plan.Redirect("https", "", None, None, None, 301, strip_query=False), "https://test/a/b?c=d"),
        (
            plan.Redirect("", "other.test", 8443, "/x", None, 308, strip_query=True),
            "http://other.test:8443/x",
        ),
        (
            plan.Redirect("", "", None, None, plan.PrefixRewrite("/z"), 302, strip_query=False),
            "http://test/z/b?c=d",
        ),
    ],
    ids=["strip query", "keep query", "all parts", "prefix"],
)
def test_redirects(live: Live, redirect: plan.Redirect, location: str) -> None:
    live.apply(listener("web", http_chain(routes(("/a", plan.RedirectAction(redirect))))))
    status, headers, _ = ask(live, "/a/b?c=d")
    assert (status, headers["location"]) == (redirect.status, location)


def test_fields_of_the_mesh_are_stripped_from_strangers(live: Live, serve: Serve) -> None:
    seen = Seen()
    live.apply(
        cluster("app", serve(seen).port),
        listener("web", http_chain(routes(("/", forward("app"))), use_remote_address=True)),
    )
    outside = (
        "x-forwarded-for: 8.8.8.8",
        "x-envoy-retry-on: 5xx",
        "x-envoy-max-retries: 5",
        "x-envoy-upstream-rq-timeout-ms: 1",
        "x-envoy-internal: true",
        "x-envoy-original-path: /forged",
        "x-envoy-decorator-operation: forged",
        "x-envoy-expected-rq-timeout-ms: 3",
        "x-forwarded-client-cert: URI=spiffe://forged",
    )
    assert ask(live, "/", *outside)[0] == 200
    headers = seen.heads[0][1]
    for name in ("x-envoy-original-path", "x-forwarded-client-cert", "x-envoy-upstream-rq-timeout-ms"):
        assert "forged" not in headers.get(name, ""), headers
    assert "x-envoy-upstream-rq-timeout-ms" not in headers


def test_a_trace_is_kept_or_made(live: Live, serve: Serve) -> None:
    seen = Seen()
    live.apply(
        cluster("app", serve(seen).port),
        listener("web", http_chain(routes(("/", forward("app"))), tracing=100.0)),
    )
    trace = "0af7651916cd43dd8448eb211c80319c"
    ask(live, "/", f"traceparent: 00-{trace}-b7ad6b7169203331-01", "tracestate: a=b")
    ask(live, "/")
    ask(live, "/", "traceparent: nonsense")
    kept, made, mended = (headers["traceparent"].split("-") for _, headers in seen.heads)
    assert kept[1] == trace
    assert seen.heads[0][1]["tracestate"] == "a=b"
    assert (len(made[1]), made[3]) == (32, "01")
    assert made[1] != trace
    assert len(mended[1]) == 32
    assert all(len(headers["x-request-id"]) == 36 for _, headers in seen.heads)


def test_a_failing_endpoint_is_ejected(live: Live, serve: Serve) -> None:
    good, bad = Seen(b"good"), Seen(b"bad", 503)
    outlier = plan.OutlierDetection(3, None, None, False, 60_000, 60_000, 60_000, 100, 100, 0, 0)
    live.apply(
        cluster("app", serve(good).port, serve(bad).port, outlier=outlier),
        listener("web", http_chain(routes(("/", forward("app"))))),
    )
    statuses = [ask(live)[0] for _ in range(30)]
    assert statuses.count(503) == 3
    assert statuses[-10:] == [200] * 10
    assert stat(live, "outlier_detection.ejections_active") == 1


def test_an_open_breaker_is_503_with_a_hint(live: Live, serve: Serve) -> None:
    release = threading.Event()
    came = threading.Event()

    def slow(connection: socket.socket) -> None:
        Reader(connection).message()
        came.set()
        release.wait(10)
        connection.sendall(response(200, b"late"))

    breakers = plan.CircuitBreakers(plan.Thresholds(max_requests=1), plan.Thresholds())
    live.apply(
        cluster("app", serve(slow).port, breakers=breakers),
        listener("web", http_chain(routes(("/", forward("app"))))),
    )
    with live.dial("web") as first:
        first.sendall(request("GET", "/"))
        assert came.wait(10)
        status, headers, body = ask(live)
        assert (status, headers.get("x-envoy-overloaded")) == (503, "true"), body
        release.set()
        assert Reader(first).message().body == b"late"
    assert stat(live, "upstream_rq_active_overflow") == 1


def test_the_next_priority_serves_while_the_first_is_ill(live: Live, serve: Serve) -> None:
    first, second = Seen(b"first"), Seen(b"second")

    def localities(health: plan.Health) -> plan.Cluster:
        members = tuple(
            plan.LocalityEndpoints(
                plan.Locality(), priority, 1, (plan.Endpoint(plan.Socket(LOOPBACK, port), health=state),)
            )
            for priority, (port, state) in enumerate(((ports[0], health), (ports[1], "healthy")))
        )
        return plan.Cluster("app", plan.StaticDiscovery(members))

    ports = [serve(first).port, serve(second).port]
    live.apply(localities("unhealthy"), listener("web", http_chain(routes(("/", forward("app"))))))
    assert {ask(live)[2] for _ in range(5)} == {b"second"}
    live.apply(localities("healthy"))
    assert {ask(live)[2] for _ in range(5)} == {b"first"}


def test_a_name_is_resolved(live: Live, serve: Serve) -> None:
    endpoint = plan.Endpoint(plan.NamedAddress("localhost", serve(echo).port))
    localities = (plan.LocalityEndpoints(plan.Locality(), 0, 1, (endpoint,)),)
    live.apply(
        plan.Cluster("app", plan.StrictDnsDiscovery(localities, 5_000, respect_ttl=False)),
        listener("web", http_chain(routes(("/", forward("app"))))),
    )
    for _ in range(200):
        if ask(live, "/dns")[0] == 200:
            break
    assert ask(live, "/dns")[2] == b"GET /dns "


def test_retries_go_elsewhere_and_are_counted(live: Live, serve: Serve) -> None:
    good, bad = Seen(b"good"), Seen(b"bad", 503)
    live.apply(
        cluster("app", serve(good).port, serve(bad).port),
        listener("web", http_chain(routes(("/", forward("app", retry=retry("gateway-error")))))),
    )
    assert [ask(live)[0] for _ in range(10)] == [200] * 10
    assert bad.heads
    assert stat(live, "app.upstream_rq_retry") == len(bad.heads)


def test_time_limits_have_their_status(live: Live, serve: Serve) -> None:
    def silent(connection: socket.socket) -> None:
        Reader(connection).rest()

    live.apply(
        cluster("app", serve(silent).port),
        listener("web", http_chain(routes(("/", forward("app", timeout=50))))),
    )
    status, _, body = ask(live)
    assert (status, body) == (504, b"upstream request timeout")
    # A request from inside may say itself how long it has.
    trusted = (plan.AddressRange("10.0.0.0", 8),)
    live.apply(
        listener("web", http_chain(routes(("/", forward("app", timeout=None))), internal_ranges=trusted))
    )
    inside = ("x-forwarded-for: 10.0.0.1", "x-envoy-upstream-rq-timeout-ms: 50")
    assert ask(live, "/", *inside)[0] == 504


def test_a_try_has_its_time_and_the_next_one_is_elsewhere(live: Live, serve: Serve) -> None:
    silent = serve(lambda connection: Reader(connection).rest())
    policy = plan.RetryPolicy(("5xx",), 2, 50, None, plan.BackOff(1, 10), (), (), (), True, 5)
    live.apply(
        cluster("app", serve(Seen(b"good")).port, silent.port),
        listener("web", http_chain(routes(("/", forward("app", retry=policy))))),
    )
    assert [ask(live)[2] for _ in range(4)] == [b"good"] * 4
    assert silent.accepted > 0
    assert stat(live, "app.upstream_rq_per_try_timeout") > 0


def test_slashes_in_disguise_are_refused(live: Live, serve: Serve) -> None:
    chain = http_chain(routes(("/", forward("app"))), escaped_slashes="reject", normalize_path=True)
    live.apply(cluster("app", serve(echo).port), listener("web", chain))
    assert ask(live, "/a%2Fb")[0] == 400
    assert ask(live, "/a%5cb")[0] == 400
    assert ask(live, "/a/../../b")[0] in (200, 400)


@pytest.mark.parametrize("balancer", [plan.RoundRobin(), plan.LeastRequest(2), plan.RandomChoice()])
def test_every_endpoint_gets_its_share(live: Live, serve: Serve, balancer: plan.LoadBalancer) -> None:
    servers = [Seen(), Seen(), Seen()]
    live.apply(
        cluster("app", *(serve(seen).port for seen in servers), load_balancer=balancer),
        listener("web", http_chain(routes(("/", forward("app"))))),
    )
    with live.dial("web") as client:
        reader = Reader(client)
        for _ in range(300):
            client.sendall(request("GET", "/"))
            reader.message()
    assert all(len(seen.heads) > 50 for seen in servers)


def test_weights_split_traffic(live: Live, serve: Serve) -> None:
    one, two = Seen(b"1"), Seen(b"2")
    weighted = plan.WeightedClusters(
        tuple(
            plan.WeightedCluster(name, weight, plan.RouteHeaders(), None, ())
            for name, weight in (("one", 90), ("two", 10))
        )
    )
    live.apply(
        cluster("one", serve(one).port),
        cluster("two", serve(two).port),
        listener("web", http_chain(routes(("/", forward("", upstreams=weighted))))),
    )
    with live.dial("web") as client:
        reader = Reader(client)
        for _ in range(500):
            client.sendall(request("GET", "/"))
            reader.message()
    assert 15 <= len(two.heads) <= 100


def test_a_policy_closes_connections_of_bytes(live: Live, serve: Serve) -> None:
    def rules(prefix: int) -> plan.FilterChain:
        policy = plan.RbacPolicy(
            "p",
            (plan.AnyPermission(),),
            (plan.DirectRemoteIpPrincipal(plan.AddressRange(LOOPBACK if prefix else "10.0.0.0", 8)),),
        )
        rbac = plan.NetworkRbacFilter(plan.RbacRules(True, (policy,)), None, "tcp.")
        chain = tcp_chain("app")
        return plan.FilterChain("tcp", chain.terminal, network_filters=(plan.NetworkFilter("rbac", rbac),))

    server = serve(echo)
    live.apply(cluster("app", server.port), listener("yes", rules(1)), listener("no", rules(0)))
    with live.dial("yes") as client:
        client.sendall(request("GET", "/"))
        assert Reader(client).message().status == 200
    with live.dial("no") as client:
        try:
            client.sendall(request("GET", "/"))
            assert client.recv(10) == b""
        except ConnectionResetError:
            pass
    assert server.accepted <= 2
