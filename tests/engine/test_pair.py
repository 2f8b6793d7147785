"""Two engines as two sidecars: what one takes from its application crosses mutual TLS to the other's."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from engine_grpc import both_streaming, client_streaming, server_streaming, unary
from engine_live import PATIENCE, Live
from engine_plans import LOOPBACK, cluster, forward, http_chain, listener, routes, tcp_chain
from engine_tls import Authority, downstream, upstream
from engine_wire import Reader, echo, request, response

from mainstay.protocols.compile import compile_protocol
from mainstay.protocols.read import read_descriptions
from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine_live import Server

    Serve = Callable[..., Server]

FRONT = "spiffe://cluster.local/ns/shop/sa/front"
CART = "spiffe://cluster.local/ns/shop/sa/cart"
MESH_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
WORKLOADS = {
    "front": plan.LocalWorkload("front-v1", "shop", FRONT, "front", "v1", "front", "v1", "Kubernetes"),
    "cart": plan.LocalWorkload("cart-v2", "shop", CART, "cart", "v2", "cart", "v2", "Kubernetes"),
}


class Sidecar(Live):
    """An engine that knows whose it is and tells its figures."""

    def __init__(self, name: str) -> None:
        from mainstay.engine import Engine

        super().__init__()
        self.engine.shutdown(1_000)
        self._events.clear()
        self.engine = Engine(
            plan.EngineSettings(
                name,
                metrics=plan.Socket(LOOPBACK, 0),
                admin=plan.Socket(LOOPBACK, 0),
                workload=WORKLOADS[name],
            )
        )

    def page(self, path: str) -> str:
        return self.engine.render(path).decode()


class Pair:
    def __init__(self) -> None:
        self.authority = Authority()
        self.front, self.cart = Sidecar("front"), Sidecar("cart")
        for sidecar, identity in ((self.front, FRONT), (self.cart, CART)):
            sidecar.apply(self.authority.issue(identity).secret("leaf"), self.authority.secret("roots"))

    def connect(
        self, application: int, *, tunnel: bool = True, protocol: str = "http1", **options: Any
    ) -> None:
        """The road of HTTP from the front end's sidecar to the application behind the cart's."""
        inbound = http_chain(
            routes(("/", forward("application"))), tls=downstream("h2", "http/1.1", mutual=True), **options
        )
        inbound = plan.FilterChain(
            "in",
            inbound.terminal,
            plan.ChainMatch(transport_protocol="tls"),
            plan.DownstreamTls(
                ("leaf",),
                "roots",
                plan.AlternativeNames(()),
                True,
                ("istio-h2", "istio-http/1.1", "istio", "h2", "http/1.1"),
            ),
        )
        http = plan.UpstreamHttp(protocol=protocol)  # type: ignore[arg-type]
        self.cart.apply(
            cluster("application", application, http=http),
            listener(
                "in",
                inbound,
                direction="inbound",
                listener_filters=(plan.TlsInspector(),),
                accepts_http1_in_http2=tunnel,
            ),
        )
        endpoint = plan.Endpoint(
            plan.Socket(LOOPBACK, self.cart.port("in")),
            labels=tuple(
                {
                    "workload": "cart-v2",
                    "namespace": "shop",
                    "canonical_name": "cart",
                    "canonical_revision": "v2",
                    "app": "cart",
                    "version": "v2",
                }.items()
            ),
            takes_http1_in_http2=tunnel,
        )
        alpns = ("istio-h2", "istio", "h2") if protocol == "http2" else ("istio-http/1.1", "istio")
        target = plan.Cluster(
            "cart",
            plan.StaticDiscovery((plan.LocalityEndpoints(plan.Locality(), 0, 1, (endpoint,)),)),
            http=http,
            tls=upstream(*alpns, any_of=(CART,), certificate="leaf"),
            labels=(
                ("host", "cart.shop.svc.cluster.local"),
                ("name", "cart"),
                ("namespace", "shop"),
            ),
        )
        self.front.apply(
            target,
            listener("out", http_chain(routes(("/", forward("cart"))), **options), direction="outbound"),
        )


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.front.engine.shutdown(1_000)
    made.cart.engine.shutdown(1_000)


def test_http1_crosses_inside_http2(pair: Pair, serve: Serve) -> None:
    heads: list[tuple[str, dict[str, str]]] = []

    def keep(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            try:
                message = reader.message()
            except EOFError:
                return
            heads.append((message.start, message.headers))
            connection.sendall(response(200, message.body))

    pair.connect(serve(keep).port)
    with pair.front.dial("out") as client:
        reader = Reader(client)
        for size in (0, 10, 200_000):
            client.sendall(request("POST", "/a", body=b"x" * size))
            assert reader.message().body == b"x" * size
    start, headers = heads[0]
    assert start == "POST /a HTTP/1.1"
    for name in ("mainstay-orig-proto", "x-envoy-peer-metadata", "x-envoy-peer-metadata-id"):
        assert name not in headers


@pytest.mark.parametrize("protocol", ["http1", "downstream", "auto"])
def test_a_websocket_crosses(pair: Pair, serve: Serve, protocol: str) -> None:
    def chat(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            try:
                start, headers = reader.head()
            except EOFError:
                return
            if headers.get("upgrade") == "websocket":
                connection.sendall(
                    b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst"
                )
                while data := connection.recv(65_536):
                    connection.sendall(data.upper())
                return
            connection.sendall(response(200, start.encode()))

    pair.connect(serve(chat).port, protocol=protocol, upgrades=("websocket",))
    with pair.front.dial("out") as client:
        reader = Reader(client)
        # An ordinary request first: its connection between the sidecars is HTTP/2.
        client.sendall(request("GET", "/plain"))
        assert reader.message().status == 200
        client.sendall(request("GET", "/", "connection: upgrade", "upgrade: websocket"))
        assert reader.message(bodiless=True).status == 101
        assert reader.exactly(5) == b"first"
        for size in (1, 70_000):
            client.sendall(b"a" * size)
            assert reader.exactly(size) == b"A" * size
        client.shutdown(socket.SHUT_WR)
        assert reader.rest() == b""


def test_an_application_that_reads_nothing_stops_its_client(pair: Pair, serve: Serve) -> None:
    release = threading.Event()

    def lazy(connection: socket.socket) -> None:
        reader = Reader(connection)
        reader.head()
        release.wait(PATIENCE)
        read = len(reader.buffer)
        while read < size and (piece := connection.recv(1 << 20)):
            read += len(piece)
        connection.sendall(response(200, str(read).encode()))

    size = 64 * 1024 * 1024
    pair.connect(serve(lazy).port)
    with pair.front.dial("out") as client:
        client.sendall(request("POST", "/", f"content-length: {size}"))
        client.settimeout(0.5)
        sent, piece = 0, b"x" * 65_536
        with contextlib.suppress(TimeoutError):
            while sent < size:
                sent += client.send(piece)
        # What lies in sockets and windows on the way, and no more.
        assert sent < 32 * 1024 * 1024
        client.settimeout(PATIENCE)
        release.set()
        while sent < size:
            sent += client.send(piece[: size - sent])
        assert Reader(client).message().body == str(size).encode()


def test_both_sides_tell_source_and_destination(pair: Pair, serve: Serve) -> None:
    pair.connect(serve(echo).port)
    with pair.front.dial("out") as client:
        client.sendall(request("GET", "/"))
        assert Reader(client).message().status == 200
    common = {
        "source_workload": "front-v1",
        "source_workload_namespace": "shop",
        "source_principal": FRONT,
        "source_app": "front",
        "source_version": "v1",
        "source_canonical_service": "front",
        "destination_workload": "cart-v2",
        "destination_workload_namespace": "shop",
        "destination_principal": CART,
        "destination_app": "cart",
        "destination_version": "v2",
        "destination_canonical_service": "cart",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
    }
    for sidecar, expected in (
        (
            pair.front,
            {"reporter": "source", "destination_service": "cart.shop.svc.cluster.local"},
        ),
        (pair.cart, {"reporter": "destination", "connection_security_policy": "mutual_tls"}),
    ):
        text = sidecar.page("/stats/prometheus")
        (line,) = [line for line in text.splitlines() if line.startswith("istio_requests_total{")]
        missing = {
            name: value for name, value in (common | expected).items() if f'{name}="{value}"' not in line
        }
        assert not missing, line


def test_strict_refuses_what_is_no_mesh_tls(pair: Pair, serve: Serve) -> None:
    server = serve(echo)
    pair.connect(server.port)
    with pair.cart.dial("in") as client:
        client.sendall(request("GET", "/"))
        assert Reader(client).rest() == b""
    stranger = pair.authority.client()
    stranger.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, OSError)):
        stranger.wrap_socket(pair.cart.dial("in"))
    assert server.accepted == 0


def test_new_certificates_leave_connections_alone(pair: Pair, serve: Serve) -> None:
    pair.connect(serve(echo).port)
    with pair.front.dial("out") as client:
        reader = Reader(client)
        client.sendall(request("GET", "/a"))
        assert reader.message().status == 200
        for sidecar, identity in ((pair.front, FRONT), (pair.cart, CART)):
            sidecar.apply(pair.authority.issue(identity).secret("leaf"))
        client.sendall(request("GET", "/b"))
        assert reader.message().status == 200
        counters = pair.cart.page("/stats")
        assert (
            "downstream_cx_total: 1\n"
            in "\n".join(
                line.rpartition(".")[2] for line in counters.splitlines() if line.startswith("listener.")
            )
            + "\n"
        ), counters


def test_one_service_mixes_endpoints_in_the_mesh_and_outside(pair: Pair, serve: Serve) -> None:
    inside, outside = serve(echo), serve(echo)
    pair.connect(inside.port)
    mesh = upstream("istio-http/1.1", "istio", any_of=(CART,), certificate="leaf")
    label = (("tlsMode", "istio"),)
    endpoints = (
        plan.Endpoint(plan.Socket(LOOPBACK, pair.cart.port("in")), socket_labels=label),
        plan.Endpoint(plan.Socket(LOOPBACK, outside.port)),
    )
    pair.front.apply(
        plan.Cluster(
            "mixed",
            plan.StaticDiscovery((plan.LocalityEndpoints(plan.Locality(), 0, 1, endpoints),)),
            socket_matches=(plan.SocketMatch("mtls", label, mesh), plan.SocketMatch("plain", (), None)),
        ),
        listener("mixed", http_chain(routes(("/", forward("mixed"))))),
    )
    with pair.front.dial("mixed") as client:
        reader = Reader(client)
        for number in range(4):
            client.sendall(request("GET", f"/{number}"))
            assert reader.message().status == 200
    assert (inside.accepted, outside.accepted) == (1, 1)


def test_trust_ends_with_the_bundle(pair: Pair, serve: Serve) -> None:
    pair.connect(serve(echo).port)
    pair.cart.apply(Authority().secret("roots"))
    with pair.front.dial("out") as client:
        client.sendall(request("GET", "/"))
        assert Reader(client).message().status == 503


def test_half_closes_cross_as_bytes(pair: Pair, serve: Serve) -> None:
    def reply(connection: socket.socket) -> None:
        data = Reader(connection).rest()
        connection.sendall(data[::-1])

    chain = tcp_chain("application")
    inbound = plan.FilterChain("in", chain.terminal, plan.ChainMatch(), downstream("istio", mutual=True))
    pair.cart.apply(
        cluster("application", serve(reply).port),
        listener("in", inbound, direction="inbound", listener_filters=(plan.TlsInspector(),)),
    )
    pair.front.apply(
        cluster("cart", pair.cart.port("in"), tls=upstream("istio", any_of=(CART,), certificate="leaf")),
        listener("out", tcp_chain("cart"), direction="outbound"),
    )
    payload = bytes(range(250)) * 4_000
    for _ in range(3):
        with pair.front.dial("out") as client:
            client.sendall(payload)
            client.shutdown(socket.SHUT_WR)
            assert Reader(client).rest() == payload[::-1]
    text = pair.cart.page("/stats/prometheus")
    opened = [line for line in text.splitlines() if line.startswith("istio_tcp_connections_opened_total{")]
    assert f'source_principal="{FRONT}"' in opened[0]
    assert "ssl.session_reused: 2" in pair.cart.page("/stats")


HANDLERS: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
    "Unary": grpc.unary_unary_rpc_method_handler(lambda request, _: request.upper()),
    "Count": grpc.unary_stream_rpc_method_handler(
        lambda request, _: (str(number).encode() for number in range(int(request)))
    ),
    "Join": grpc.stream_unary_rpc_method_handler(lambda requests, _: b",".join(requests)),
    "Reflect": grpc.stream_stream_rpc_method_handler(lambda requests, _: requests),
}


def test_grpc_of_all_four_kinds_crosses(pair: Pair) -> None:
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", HANDLERS),))
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    try:
        pair.connect(port, protocol="http2")
        with grpc.insecure_channel(f"{LOOPBACK}:{pair.front.port('out')}") as channel:
            assert unary(channel, "/test.Echo/Unary")(b"hello", timeout=PATIENCE) == b"HELLO"
            assert len(list(server_streaming(channel, "/test.Echo/Count")(b"100", timeout=PATIENCE))) == 100
            assert (
                client_streaming(channel, "/test.Echo/Join")(iter([b"a", b"b"]), timeout=PATIENCE) == b"a,b"
            )
            sent = [b"x" * size for size in (0, 1, 100_000)]
            assert list(both_streaming(channel, "/test.Echo/Reflect")(iter(sent), timeout=PATIENCE)) == sent
    finally:
        server.stop(None).wait()
    text = pair.cart.page("/stats/prometheus")
    assert 'grpc_response_status="0"' in text
    assert 'request_protocol="grpc"' in text


def test_a_framed_protocol_crosses_with_identity_policy_and_metrics(pair: Pair, serve: Serve) -> None:
    """The tutorial's protocol, detected on both sides: nothing was written for it but its description."""
    page = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"
    text = page.read_text().split("```yaml parcel.yaml\n")[1].split("```")[0]
    (described,), problems = read_descriptions([("parcel.yaml", text)])
    assert not problems
    protocol = compile_protocol(described.name, described.description)

    def answer(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            call, _, target, note = struct.unpack(">IHBI", reader.exactly(14)[3:])
            body = reader.exactly(target + note)[target:]
            connection.sendall(b"pa\x02" + struct.pack(">IBI", call, 0, note) + body)

    path = plan.PathPermission(plan.StringMatch(plan.ExactText("/cart/add")))
    caller = plan.AuthenticatedPrincipal(plan.StringMatch(plan.ExactText(FRONT)))
    rules = plan.RbacRules(True, (plan.RbacPolicy("add", (path,), (caller,)),))
    rbac = plan.HttpFilter("rbac", plan.RbacFilter(rules, None), False)
    pair.connect(serve(answer).port, tunnel=False, rpc=(protocol,), filters=(rbac,))
    # The policy is the receiver's; the sender's sidecar has no certificate of its application.
    chain = http_chain(routes(("/", forward("cart"))), rpc=(protocol,))
    pair.front.apply(listener("out", chain, direction="outbound"))

    def call(number: int, target: str, note: bytes) -> bytes:
        head = b"pa\x01" + struct.pack(">IHBI", number, 5_000, len(target), len(note))
        return head + target.encode() + note

    with pair.front.dial("out") as client:
        client.sendall(call(7, "cart.add", b"tea"))
        reader = Reader(client)
        assert reader.exactly(15) == b"pa\x02" + struct.pack(">IBI", 7, 0, 3) + b"tea"
        client.sendall(call(8, "cart.drop", b""))
        assert reader.exactly(12)[:8] == b"pa\x02" + struct.pack(">IB", 8, 3)
    text = pair.cart.page("/stats/prometheus")
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith("istio_requests_total{") and 'response_code="200"' in line
    ]
    for label in (f'source_principal="{FRONT}"', 'connection_security_policy="mutual_tls"'):
        assert label in line
