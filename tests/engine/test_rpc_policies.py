"""Policies and telemetry on calls of framed protocols: the code is that of HTTP, the words are the protocol's own."""

from __future__ import annotations

import itertools
import json
import re
import socket
import struct
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from engine_bolt import (
    BUSY,
    CLOSED,
    DENIED,
    ERROR,
    NOT_FOUND,
    ONE_WAY,
    SUCCESS,
    TIMEOUT,
    Headers,
    Provider,
    ask,
    call,
    known,
    read_answer,
)
from engine_live import PATIENCE, stat
from engine_plans import LOOPBACK, cluster, forward, http_chain, listener, routes
from engine_tls import Authority, downstream, upstream
from engine_wire import Reader

from mainstay.engine import EndpointHealth
from mainstay.protocols.heartbeat import heartbeat_check
from mainstay.protocols.read import shipped
from mainstay.sidecar import plan
from waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engine_live import Live, Server

    Serve = Callable[..., Server]

CART = "/shop.Cart:1.0/"


def rpc_chain(table: plan.RouteTable, **options: Any) -> plan.FilterChain:
    return http_chain(table, protocol="rpc", rpc=(known("bolt"),), **options)


def front(
    live: Live, *clusters: plan.Cluster, route: plan.RouteAction | None = None, **options: object
) -> None:
    """A listener that sends every call to the first cluster, or where `route` says."""
    action = route or forward(clusters[0].name)
    live.apply(*clusters, listener("rpc", rpc_chain(routes(("/", action)), **options)))


def statuses(live: Live, *calls: bytes) -> list[int]:
    return [answer.status for answer in ask(partial(live.dial, "rpc"), *calls)]


# Filters. Every one that the engine has stands here with its cases, and each case runs on a Bolt stream: a filter needs no code
# for framed protocols, and a new one needs a row.


class Case(NamedTuple):
    """Calls, the statuses they are answered with, and what the provider saw of headers."""

    config: plan.HttpFilterConfig
    calls: tuple[bytes, ...]
    statuses: tuple[int, ...]
    seen: Headers | None = None
    told: Headers | None = None
    per_route: plan.HttpFilterConfig | None = None


def exact(text: str) -> plan.StringMatch:
    return plan.StringMatch(plan.ExactText(text))


def rbac(permission: plan.RbacPermission, *, allow: bool = True) -> plan.RbacFilter:
    policy = plan.RbacPolicy("cart", (permission,), (plan.AnyPrincipal(),))
    return plan.RbacFilter(plan.RbacRules(allow, (policy,)), None)


def header(name: str, text: str) -> plan.HeaderPermission:
    return plan.HeaderPermission(plan.HeaderMatch(name, plan.TextTest(exact(text))))


def limit(tokens: int, status: int = 429) -> plan.LocalRateLimitFilter:
    always = plan.Fraction(100, 100)
    bucket = plan.TokenBucket(tokens, tokens, 3_600_000)
    return plan.LocalRateLimitFilter("limit", bucket, always, always, status, (), draft_headers=False)


MUTATION = plan.HeaderMutationFilter(
    plan.RouteHeaders(
        request=(
            plan.HeaderChange("x-canary", "yes"),
            plan.HeaderChange("x-user", "kim", "overwrite_if_exists_or_add"),
        ),
        response=(plan.HeaderChange("x-served-by", "mesh"),),
        request_remove=("x-secret",),
    )
)
ADD, LIST = call(1, "add"), call(2, "list")
KIM, LEE = call(1, headers={"X-User": "kim"}), call(2, headers={"X-User": "lee"})

FILTERS: dict[str, dict[str, Case]] = {
    "envoy.filters.http.rbac": {
        "method by path": Case(
            rbac(plan.PathPermission(exact(f"{CART}add"))), (ADD, LIST), (SUCCESS, DENIED)
        ),
        "service by prefix of the path": Case(
            rbac(plan.PathPermission(plan.StringMatch(plan.PrefixText(CART)))),
            (ADD, LIST, call(3, service="shop.Stock:1.0")),
            (SUCCESS, SUCCESS, DENIED),
        ),
        "denied method": Case(
            rbac(plan.PathPermission(exact(f"{CART}list")), allow=False), (ADD, LIST), (SUCCESS, DENIED)
        ),
        "header": Case(rbac(header("x-user", "kim")), (KIM, LEE, ADD), (SUCCESS, DENIED, DENIED)),
        "service by authority": Case(
            rbac(header(":authority", "shop.Cart:1.0")),
            (ADD, call(2, service="shop.Stock:1.0")),
            (SUCCESS, DENIED),
        ),
        "attribute": Case(rbac(header("bolt-codec", "11")), (ADD,), (SUCCESS,)),
        "another attribute": Case(rbac(header("bolt-codec", "1")), (ADD,), (DENIED,)),
        "per route": Case(
            rbac(plan.PathPermission(exact("/nothing"))),
            (ADD, LIST),
            (DENIED, SUCCESS),
            per_route=rbac(plan.PathPermission(exact(f"{CART}list"))),
        ),
        "off for a route": Case(
            rbac(plan.PathPermission(exact("/nothing"))), (ADD,), (SUCCESS,), per_route=plan.DisabledFilter()
        ),
    },
    "envoy.filters.http.local_ratelimit": {
        "busy": Case(limit(2), (ADD, LIST, ADD), (SUCCESS, SUCCESS, BUSY)),
        "busy also as 503": Case(limit(1, 503), (ADD, LIST), (SUCCESS, BUSY)),
        "per route": Case(limit(1), (ADD, LIST, ADD), (SUCCESS, SUCCESS, BUSY), per_route=limit(2)),
    },
    "envoy.filters.http.header_mutation": {
        "header maps": Case(
            MUTATION,
            (call(1, headers={"X-User": "lee", "x-secret": "s"}),),
            (SUCCESS,),
            seen={
                "service": "shop.Cart:1.0",
                "sofa_head_method_name": "add",
                "X-User": "kim",
                "x-canary": "yes",
            },
            told={"x-served-by": "mesh"},
        ),
    },
}


def test_every_filter_of_the_engine_has_cases(live: Live) -> None:
    http = {name for name in live.engine.extensions() if name.startswith("envoy.filters.http.")}
    assert http
    assert http == set(FILTERS), "a filter that came needs a row here, and no code for framed protocols"


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name.rpartition('.')[2]}: {title}")
        for name, cases in FILTERS.items()
        for title, case in cases.items()
    ],
)
def test_a_filter_on_a_bolt_stream(live: Live, serve: Serve, name: str, case: Case) -> None:
    provider = Provider()
    table = routes(("/", forward("app")))
    if case.per_route is not None:
        (host,) = table.virtual_hosts
        (route,) = host.routes
        route = msgspec.structs.replace(route, filters=((name, case.per_route),))
        table = plan.RouteTable("routes", (msgspec.structs.replace(host, routes=(route,)),))
    chain = rpc_chain(table, filters=(plan.HttpFilter(name, case.config),))
    live.apply(cluster("app", serve(provider).port), listener("rpc", chain))
    answers = ask(partial(live.dial, "rpc"), *case.calls)
    assert tuple(answer.status for answer in answers) == case.statuses
    assert len(provider.calls) == case.statuses.count(SUCCESS), "what is refused reaches nobody"
    if case.seen is not None:
        assert provider.calls[0].headers == case.seen
    if case.told is not None:
        assert answers[0].headers == case.told


def test_identities_are_those_of_the_connection(live: Live, serve: Serve) -> None:
    authority = Authority()
    kim, lee = (f"spiffe://cluster.local/ns/shop/sa/{name}" for name in ("kim", "lee"))
    provider = Provider()
    policy = plan.RbacPolicy("kim", (plan.AnyPermission(),), (plan.AuthenticatedPrincipal(exact(kim)),))
    guard = plan.HttpFilter("envoy.filters.http.rbac", plan.RbacFilter(plan.RbacRules(True, (policy,)), None))
    inner = rpc_chain(routes(("/", forward("app"))), filters=(guard,), tls=downstream("istio", mutual=True))
    live.apply(
        authority.issue("app.test").secret("leaf"),
        authority.secret("roots"),
        authority.issue(kim).secret("kim"),
        authority.issue(lee).secret("lee"),
        cluster("app", serve(provider).port),
        listener("inner", inner),
    )
    port = live.port("inner")
    for name in ("kim", "lee"):
        target = cluster(name, port, tls=upstream("istio", certificate=name))
        live.apply(target, listener("rpc", rpc_chain(routes(("/", forward(name))))))
        assert statuses(live, ADD) == [SUCCESS if name == "kim" else DENIED]


# What DestinationRule and VirtualService say.


def test_subsets_share_calls_by_weight(live: Live, serve: Serve) -> None:
    one, two = Provider("one"), Provider("two")
    split = plan.WeightedClusters(
        tuple(
            plan.WeightedCluster(name, weight, plan.RouteHeaders(), None, ())
            for name, weight in (("v1", 0), ("v2", 100))
        )
    )
    front(
        live,
        cluster("v1", serve(one).port),
        cluster("v2", serve(two).port),
        route=forward("v1", upstreams=split),
    )
    answers = ask(partial(live.dial, "rpc"), *(call(number) for number in range(1, 9)))
    assert {answer.body for answer in answers} == {b"two"}
    assert not one.calls


def test_least_request_avoids_who_is_busy(live: Live, serve: Serve) -> None:
    slow, quick = Provider("slow"), Provider("quick")
    slow.release = threading.Event()
    target = cluster("app", serve(slow).port, serve(quick).port, load_balancer=plan.LeastRequest(64))
    front(live, target)

    def has_calls(number: int) -> bool:
        return len(slow.calls) + len(quick.calls) == number

    def came(number: int) -> bool:
        return bool(slow.calls) or len(quick.calls) == number

    with live.dial("rpc") as waiting:
        reader = Reader(waiting)
        for number in itertools.count(1):
            waiting.sendall(call(number))
            until(partial(came, number), "the call")
            if slow.calls:
                break
            # Only when it is answered is the quick one free again.
            read_answer(reader)
        for number in range(10, 20):
            # One at a time: with two under way the quick one would be the busier.
            [answer] = ask(partial(live.dial, "rpc"), call(number))
            assert answer.body == b"quick"
        assert len(slow.calls) == 1
        slow.release.set()


@pytest.mark.parametrize(
    ("status", "ejects"), [(ERROR, True), (BUSY, True), (TIMEOUT, True), (NOT_FOUND, False), (SUCCESS, False)]
)
def test_an_endpoint_is_ejected_by_what_its_statuses_mean(
    live: Live, serve: Serve, status: int, ejects: bool
) -> None:
    good, bad = Provider("good"), Provider("bad", add=status)
    outlier = plan.OutlierDetection(3, None, None, False, 60_000, 60_000, 60_000, 100, 100, 0, 0)
    front(live, cluster("app", serve(good).port, serve(bad).port, outlier=outlier))
    answers = ask(partial(live.dial, "rpc"), *map(call, range(1, 31)))
    assert stat(live, "outlier_detection.ejections_active") == int(ejects)
    if ejects:
        assert [answer.status for answer in answers].count(status) == 3
        assert {answer.body for answer in answers[-10:]} == {b"good"}
    else:
        assert len(bad.calls) == 15


@pytest.mark.parametrize(
    ("thresholds", "counter"),
    [
        (plan.Thresholds(max_requests=1), "upstream_rq_active_overflow"),
    ],
)
def test_an_open_breaker_says_busy(
    live: Live, serve: Serve, thresholds: plan.Thresholds, counter: str
) -> None:
    provider = Provider()
    provider.release = threading.Event()
    breakers = plan.CircuitBreakers(thresholds, plan.Thresholds())
    front(live, cluster("app", serve(provider).port, breakers=breakers))
    with live.dial("rpc") as first:
        first.sendall(call(1))
        assert provider.came.acquire(timeout=PATIENCE)
        assert statuses(live, call(2), call(3)) == [BUSY, BUSY]
        provider.release.set()
        assert read_answer(Reader(first)).status == SUCCESS
    assert stat(live, counter) == 2
    assert statuses(live, call(4)) == [SUCCESS]


def test_a_mirror_gets_calls_and_nobody_its_answers(live: Live, serve: Serve) -> None:
    main, shadow = Provider("main"), Provider("shadow", add=ERROR)
    front(
        live,
        cluster("main", serve(main).port),
        cluster("shadow", serve(shadow).port),
        route=forward("main", mirrors=(plan.Mirror("shadow", None, shadow_host=True),)),
    )
    with live.dial("rpc") as client:
        client.sendall(call(7, body=b"tea") + call(8, "note", b"x", kind=ONE_WAY) + call(9, "list"))
        reader = Reader(client)
        answers = [read_answer(reader), read_answer(reader)]
    assert sorted((answer.number, answer.status, answer.body) for answer in answers) == [
        (7, SUCCESS, b"main"),
        (9, SUCCESS, b"main"),
    ]
    until(lambda: len(shadow.calls) == 3, "the copy")
    assert sorted(seen.method for seen in shadow.calls) == ["add", "list", "note"]
    # The frame is as it was: an RPC service has no other name for its shadow.
    assert {seen.headers["service"] for seen in shadow.calls} == {"shop.Cart:1.0"}
    assert [seen.body for seen in shadow.calls if seen.one_way] == [b"x"]


def test_the_shorter_patience_counts(live: Live, serve: Serve) -> None:
    provider = Provider()
    provider.release = threading.Event()
    target = cluster("app", serve(provider).port)
    for route_limit, frame_limit in ((100, 60_000), (60_000, 100), (100, -1)):
        front(live, target, route=forward("app", timeout=route_limit))
        began = time.monotonic()
        assert statuses(live, call(1, timeout=frame_limit)) == [TIMEOUT]
        assert 0.09 < time.monotonic() - began < PATIENCE
    provider.release.set()
    assert stat(live, "upstream_rq_timeout") == 3


@pytest.mark.parametrize(
    ("status", "told"),
    [(403, DENIED), (404, NOT_FOUND), (429, BUSY), (502, CLOSED), (503, BUSY), (504, TIMEOUT), (500, 3)],
)
def test_a_direct_response_is_the_protocol_s_reply(live: Live, status: int, told: int) -> None:
    respond = plan.RespondAction(plan.DirectResponse(status, b"closed for today"))
    live.apply(listener("rpc", rpc_chain(routes(("/", respond)))))
    assert statuses(live, call(1)) == [told]


def test_routes_change_headers_both_ways(live: Live, serve: Serve) -> None:
    provider = Provider()
    provider.headers = {"Version": "2", "secret": "s"}
    changes = plan.RouteHeaders(
        request=(plan.HeaderChange("x-tenant", "%REQ(x-user)%-%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),),
        response=(plan.HeaderChange("x-via", "%PROTOCOL%"),),
        request_remove=("x-secret",),
        response_remove=("secret",),
    )
    match = plan.RouteMatch(plan.ExactPath(f"{CART}add"))
    host = plan.VirtualHost("all", ("*",), (plan.Route("add", match, forward("app"), changes),))
    chain = rpc_chain(plan.RouteTable("routes", (host,)))
    live.apply(cluster("app", serve(provider).port), listener("rpc", chain))
    (answer,) = ask(partial(live.dial, "rpc"), call(1, headers={"X-User": "kim", "X-Secret": "s"}))
    assert answer.headers == {"Version": "2", "x-via": "bolt"}
    headers = provider.calls[0].headers
    assert headers.pop("x-tenant") == f"kim-{LOOPBACK}"
    assert headers == {"service": "shop.Cart:1.0", "sofa_head_method_name": "add", "X-User": "kim"}


def health_of(live: Live, check: plan.TcpHealthCheck, *ports: int) -> dict[int, bool]:
    """What a check finds of each endpoint first."""
    every = plan.HealthCheck(check, 300, 50, 0, 1, 1, plan.Fraction(100, 100))
    live.apply(
        cluster("app", *ports, health_checks=(every,)),
        listener("rpc", rpc_chain(routes(("/", forward("app"))))),
    )
    found: dict[int, bool] = {}
    while len(found) < len(ports):
        event = live.event(EndpointHealth)
        assert isinstance(event, EndpointHealth)
        found.setdefault(int(event.address.rpartition(":")[2]), event.healthy)
    return found


def test_an_endpoint_that_takes_no_connections_gets_no_calls(live: Live, serve: Serve) -> None:
    gone = socket.create_server((LOOPBACK, 0))
    port = gone.getsockname()[1]
    gone.close()
    up = serve(Provider("up")).port
    assert health_of(live, plan.TcpHealthCheck(), up, port) == {up: True, port: False}
    assert {answer.body for answer in ask(partial(live.dial, "rpc"), *map(call, range(1, 11)))} == {b"up"}


@pytest.mark.parametrize("name", ["bolt", "dubbo"])
def test_a_check_may_want_the_protocol_s_heartbeat_answered(live: Live, serve: Serve, name: str) -> None:
    (described,) = (each for each in shipped() if each.name == name)
    beat = heartbeat_check(name, described.description)
    assert beat is not None
    # One that speaks the protocol, one that takes connections and says nothing, one that says something else.
    table = routes(("/", forward("nowhere")))
    live.apply(listener("alive", http_chain(table, protocol="rpc", rpc=(known(name),))))
    mute = serve(lambda connection: connection.recv(1_000) and connection.recv(1)).port
    other = serve(lambda connection: connection.sendall(b"220 ready\r\n")).port
    check = plan.TcpHealthCheck(beat.send, (plan.CheckBytes(beat.receive),))
    alive = live.port("alive")
    assert health_of(live, check, alive, mute, other) == {alive: True, mute: False, other: False}


# Telemetry.


def lines(path: Path, count: int) -> list[str]:
    until(lambda: path.exists() and len(path.read_text().splitlines()) >= count, f"{count} lines")
    return path.read_text().splitlines()


def test_calls_are_logged_by_their_own_words(live: Live, serve: Serve, tmp_path: Path) -> None:
    text = (
        "%RPC_PROTOCOL% %RPC_SERVICE% %RPC_METHOD% %RPC_REQUEST_ID% %RPC_STATUS% %RPC_ONE_WAY%"
        " %RESPONSE_CODE% %RESPONSE_FLAGS% %REQ(x-user)% %REQ(bolt-codec)% %RESP(version)% %PROTOCOL%\n"
    )
    fields = tuple(
        plan.JsonField(name, value, ())
        for name, value in (
            ("service", "%RPC_SERVICE%"),
            ("method", "%METHOD%"),
            ("status", "%RPC_STATUS%"),
            ("id", "%RPC_REQUEST_ID%"),
            ("oneWay", "%RPC_ONE_WAY%"),
        )
    )
    logs = (
        plan.AccessLog(plan.FileSink(str(tmp_path / "text")), plan.TextFormat(text)),
        plan.AccessLog(plan.FileSink(str(tmp_path / "json")), plan.JsonFormat(fields, False)),
    )
    provider = Provider("", list=BUSY)
    provider.headers = {"Version": "2"}
    table = routes((CART, forward("app")))
    chain = rpc_chain(table, access_logs=logs)
    live.apply(cluster("app", serve(provider).port), listener("rpc", chain))
    with live.dial("rpc") as client:
        reader = Reader(client)
        for each in (call(41, headers={"X-User": "kim"}), call(42, "list"), call(43, service="made.Up:1.0")):
            client.sendall(each)
            read_answer(reader)
        client.sendall(call(44, "note", kind=ONE_WAY))
        assert lines(tmp_path / "text", 4) == [
            "bolt shop.Cart:1.0 add 41 0 false 200 - kim 11 2 bolt",
            "bolt shop.Cart:1.0 list 42 4 false 503 - - 11 2 bolt",
            "bolt made.Up:1.0 add 43 6 false 404 NR - 11 - bolt",
            "bolt shop.Cart:1.0 note 44 - true 200 - - 11 - bolt",
        ]
    assert [json.loads(line) for line in lines(tmp_path / "json", 4)][1::2] == [
        {"service": "shop.Cart:1.0", "method": "list", "status": 4, "id": 42, "oneWay": "false"},
        {"service": "shop.Cart:1.0", "method": "note", "status": None, "id": 44, "oneWay": "true"},
    ]


def labels(line: str) -> Headers:
    inside = line[line.index("{") + 1 : line.rindex("}")]
    return {name: value.strip('"') for name, _, value in (each.partition("=") for each in inside.split(","))}


def test_calls_are_counted_by_service_method_and_outcome(live: Live, serve: Serve) -> None:
    target = cluster(
        "app",
        serve(Provider("", list=BUSY)).port,
        labels=(("host", "cart.shop.svc.cluster.local"), ("name", "cart"), ("namespace", "shop")),
    )
    chain = rpc_chain(routes((CART, forward("app"))))
    live.apply(target, listener("rpc", chain, direction="outbound"))
    assert statuses(live, call(1), call(2), call(3, "list"), call(4, service="made.Up:1.0")) == [
        SUCCESS,
        SUCCESS,
        BUSY,
        NOT_FOUND,
    ]
    text = live.engine.render("/stats/prometheus").decode()
    counted = {}
    for line in text.splitlines():
        if line.startswith("istio_requests_total{"):
            found = labels(line)
            assert (found["request_protocol"], found["reporter"]) == ("bolt", "source")
            assert "grpc_response_status" not in found
            key = (found["request_service"], found["request_method"], found["response_code"])
            counted[key] = int(line.rpartition(" ")[2])
            if found["response_code"] != "404":
                assert found["destination_service_name"] == "cart"
    assert counted == {
        ("shop.Cart:1.0", "add", "200"): 2,
        ("shop.Cart:1.0", "list", "503"): 1,
        ("unknown", "unknown", "404"): 1,
    }
    assert 'istio_request_duration_milliseconds_count{reporter="source"' in text


def test_traces_of_applications_are_kept_and_missing_ones_begun(
    live: Live, serve: Serve, tmp_path: Path
) -> None:
    provider = Provider()
    log = plan.AccessLog(plan.FileSink(str(tmp_path / "log")), plan.TextFormat("%TRACE_ID%\n"))
    front(live, cluster("app", serve(provider).port), tracing=1.0, access_logs=(log,))
    sofa = {
        "rpc_trace_context.sofaTraceId": "0a0fe9d41488955146071100140705",
        "rpc_trace_context.sofaRpcId": "0.1",
        "rpc_trace_context.samp": "false",
    }
    assert statuses(live, call(1, headers=sofa), call(2)) == [SUCCESS, SUCCESS]
    kept, begun = (seen.headers for seen in provider.calls)
    assert sofa.items() <= kept.items()
    assert begun["rpc_trace_context.sofaRpcId"] == "0"
    made = begun["rpc_trace_context.sofaTraceId"]
    assert len(made) == 32
    assert lines(tmp_path / "log", 2) == [sofa["rpc_trace_context.sofaTraceId"], made]
    # Applications may trace where the mesh does not.
    front(live, cluster("app", serve(provider).port), access_logs=(log,))
    assert statuses(live, call(3, headers=sofa), call(4)) == [SUCCESS, SUCCESS]
    assert "rpc_trace_context.sofaTraceId" not in provider.calls[-1].headers
    assert lines(tmp_path / "log", 4)[2:] == [sofa["rpc_trace_context.sofaTraceId"], "-"]


def dubbo(number: int, attachments: Headers) -> bytes:
    """A call of `shop.Cart/add` without arguments."""

    def text(value: str) -> bytes:
        assert len(value) < 0x400
        head = (
            bytes([len(value)])
            if len(value) < 0x20
            else struct.pack(">BB", 0x30 | len(value) >> 8, len(value) & 255)
        )
        return head + value.encode()

    values = b"".join(map(text, ("2.0.2", "shop.Cart", "1.0", "add", "")))
    body = values + b"H" + b"".join(text(name) + text(value) for name, value in attachments.items()) + b"Z"
    return struct.pack(">HBBqI", 0xDABB, 0xC2, 0, number, len(body)) + body


def test_dubbo_providers_find_traces_and_headers_among_attachments(
    live: Live, serve: Serve, tmp_path: Path
) -> None:
    bodies: list[bytes] = []

    def provide(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            number, length = struct.unpack(">qI", reader.exactly(16)[4:])
            bodies.append(reader.exactly(length))
            connection.sendall(struct.pack(">HBBqI", 0xDABB, 2, 20, number, 2) + b"\x94\x90")

    log = plan.AccessLog(
        plan.FileSink(str(tmp_path / "log")), plan.TextFormat("%RPC_METHOD% %REQ(token)% %TRACE_ID%\n")
    )
    table = routes(("/", forward("app")))
    (host,) = table.virtual_hosts
    changes = plan.RouteHeaders(request=(plan.HeaderChange("x-tenant", "kim"),), request_remove=("token",))
    table = plan.RouteTable("routes", (msgspec.structs.replace(host, headers=changes),))
    chain = http_chain(table, protocol="rpc", rpc=(known("dubbo"),), tracing=1.0, access_logs=(log,))
    live.apply(cluster("app", serve(provide).port), listener("rpc", chain))
    kept = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with live.dial("rpc") as client:
        reader = Reader(client)
        for number, attachments in ((7, {"path": "shop.Cart", "token": "s"}), (8, {"traceparent": kept})):
            client.sendall(dubbo(number, attachments))
            assert struct.unpack(">HBBqI", reader.exactly(16))[2:4] == (20, number)
            reader.exactly(2)
    (begun, none), (traced, same) = (line.rsplit(" ", 2)[:0:-1] for line in lines(tmp_path / "log", 2))
    assert (none, same, traced) == ("-", "-", kept[3:35])
    found = re.search(rb"\x0btraceparent\x30\x3700-([0-9a-f]{32})-[0-9a-f]{16}-01", bodies[0])
    assert found
    assert found[1].decode() == begun
    sent = {"path": "shop.Cart", "traceparent": found[0][14:].decode(), "x-tenant": "kim"}
    assert bodies[0] == dubbo(0, sent)[16:]
    assert bodies[1] == dubbo(0, {"traceparent": kept, "x-tenant": "kim"})[16:]


def test_admin_pages_show_calls(live: Live, serve: Serve) -> None:
    provider = Provider()
    provider.release = threading.Event()
    front(live, cluster("app", serve(provider).port))
    with live.dial("rpc") as client:
        client.sendall(call(1) + call(2))
        assert provider.came.acquire(timeout=PATIENCE)
        assert stat(live, "cluster.app.upstream_rq_active") == 2
        page = live.engine.render("/clusters?format=json").decode()
        (status,) = json.loads(page)["cluster_statuses"]
        used = next(
            each for each in status["circuit_breakers"]["thresholds"] if each["priority"] == "DEFAULT"
        )
        assert used["used_requests"] >= 2  # workers take them by the dozen
        provider.release.set()
        reader = Reader(client)
        assert {read_answer(reader).number, read_answer(reader).number} == {1, 2}
    assert stat(live, "cluster.app.mainstay_upstream_cx_rpc_total") == 1
    assert stat(live, "http.test.mainstay_downstream_cx_rpc_total") == 1
    assert stat(live, "http.test.mainstay_downstream_rq_rpc_total") == 2
    assert stat(live, "_http1_total") == 0
    assert stat(live, "cluster.app.upstream_rq_2xx") == 2
