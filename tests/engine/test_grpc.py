"""gRPC through a live engine, with grpcio on both sides; and the calls that the engine lends to Python."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from engine_grpc import both_streaming, client_streaming, server_streaming, unary
from engine_live import PATIENCE
from engine_plans import LOOPBACK, cluster, forward, http_chain, listener, routes

from mainstay.engine import EndpointHealth, GrpcClosed, GrpcMessage, GrpcOpened
from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine_live import Live

SERVICE = "test.Echo"
HTTP2 = plan.UpstreamHttp(protocol="http2")
HEALTH = "grpc.health.v1.Health"
LARGE = 3 * 1024 * 1024


def upper(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata((("x-trailer", "t"),))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: ä")
    return request.upper()


def count(request: bytes, _: grpc.ServicerContext) -> Iterator[bytes]:
    for number in range(int(request)):
        yield str(number).encode()


def join(requests: Iterator[bytes], _: grpc.ServicerContext) -> bytes:
    return b",".join(requests)


def reflect(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    yield from requests


HANDLERS: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
    "Unary": grpc.unary_unary_rpc_method_handler(upper),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Join": grpc.stream_unary_rpc_method_handler(join),
    "Reflect": grpc.stream_stream_rpc_method_handler(reflect),
}


SERVING = b"\x08\x01"


def health(request: bytes, _: grpc.ServicerContext) -> bytes:
    """A `HealthCheckResponse`: only the service `shop` serves."""
    return SERVING if request == b"\x0a\x04shop" else b"\x08\x02"


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a grpcio server."""
    server = grpc.server(
        ThreadPoolExecutor(16),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    checks: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Check": grpc.unary_unary_rpc_method_handler(health)
    }
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, HANDLERS),
            grpc.method_handlers_generic_handler(HEALTH, checks),
        )
    )
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    yield port
    server.stop(None).wait()


@pytest.fixture
def channel(live: Live, server: int) -> Iterator[grpc.Channel]:
    """A grpcio client that talks to the server through the engine."""
    chain = http_chain(routes(("/", forward("app"))))
    live.apply(cluster("app", server, http=HTTP2), listener("web", chain))
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"{LOOPBACK}:{live.port('web')}", options=options) as channel:
        yield channel


def test_unary_calls_carry_messages_metadata_and_trailers(channel: grpc.Channel) -> None:
    call = unary(channel, f"/{SERVICE}/Unary")
    for number in range(20):
        answer, state = call.with_call(f"hello {number}".encode(), timeout=PATIENCE)
        assert answer == f"HELLO {number}".encode()
        assert dict(state.trailing_metadata())["x-trailer"] == "t"
    assert call(b"x" * LARGE, timeout=PATIENCE) == b"X" * LARGE


def test_status_and_message_reach_the_client(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, f"/{SERVICE}/Unary")(b"fail", timeout=PATIENCE)
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "not now: ä",
    )
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, f"/{SERVICE}/Missing")(b"", timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_server_streaming(channel: grpc.Channel) -> None:
    answers = list(server_streaming(channel, f"/{SERVICE}/Count")(b"1000", timeout=PATIENCE))
    assert answers == [str(number).encode() for number in range(1_000)]


def test_client_streaming(channel: grpc.Channel) -> None:
    parts = [str(number).encode() for number in range(1_000)]
    assert client_streaming(channel, f"/{SERVICE}/Join")(iter(parts), timeout=PATIENCE) == b",".join(parts)


def test_both_ways_at_once(channel: grpc.Channel) -> None:
    sizes = [0, 1, 100, 70_000, 1_000_000, 5]
    calls = [both_streaming(channel, f"/{SERVICE}/Reflect") for _ in range(8)]
    streams = [call(iter([bytes(size) for size in sizes]), timeout=PATIENCE) for call in calls]
    for stream in streams:
        assert [len(answer) for answer in stream] == sizes


def test_answers_come_while_the_request_goes_on(channel: grpc.Channel) -> None:
    def talk() -> Iterator[bytes]:
        for number in range(5):
            yield str(number).encode()
            # The next is said only when this one has come back.
            assert came.acquire(timeout=PATIENCE)

    heard: list[bytes] = []
    came = threading.Semaphore(0)
    for answer in both_streaming(channel, f"/{SERVICE}/Reflect")(talk(), timeout=PATIENCE):
        heard.append(answer)
        came.release()
    assert heard == [b"0", b"1", b"2", b"3", b"4"]


def test_cancelled_call_leaves_the_others_alone(channel: grpc.Channel) -> None:
    endless = server_streaming(channel, f"/{SERVICE}/Count")(b"100000000", timeout=PATIENCE)
    assert next(endless) == b"0"
    assert unary(channel, f"/{SERVICE}/Unary")(b"a", timeout=PATIENCE) == b"A"
    endless.cancel()
    assert unary(channel, f"/{SERVICE}/Unary")(b"b", timeout=PATIENCE) == b"B"


def test_gone_server_is_unavailable(live: Live) -> None:
    chain = http_chain(routes(("/", forward("app"))))
    live.apply(cluster("app", 1, http=HTTP2), listener("web", chain))
    with (
        grpc.insecure_channel(f"{LOOPBACK}:{live.port('web')}") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        unary(channel, f"/{SERVICE}/Unary")(b"a", timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def lent(live: Live, server: int) -> Callable[[str], int]:
    live.apply(cluster("app", server, http=HTTP2))
    return lambda method: live.engine.open_grpc("app", f"/{SERVICE}/{method}")


def test_lent_call_brings_messages_as_they_are_granted(live: Live, lent: Callable[[str], int]) -> None:
    call = lent("Reflect")
    for message in (b"one", b"", b"x" * 100_000):
        live.engine.send(call, message)
    live.engine.grant(call, 2)
    assert live.event(GrpcOpened) == GrpcOpened(call)
    assert live.event(GrpcMessage) == GrpcMessage(call, b"one")
    assert live.event(GrpcMessage) == GrpcMessage(call, b"")
    assert live.engine.wait(100) == []
    live.engine.grant(call, 2)
    assert live.event(GrpcMessage) == GrpcMessage(call, b"x" * 100_000)
    live.engine.send(call, b"last", end=True)
    assert live.event(GrpcMessage) == GrpcMessage(call, b"last")
    assert live.event(GrpcClosed) == GrpcClosed(call, 0, "")


def test_lent_call_says_how_it_ended(live: Live, lent: Callable[[str], int]) -> None:
    call = lent("Unary")
    live.engine.send(call, b"fail", end=True)
    assert live.event(GrpcClosed) == GrpcClosed(call, 9, "not now: ä")
    call = live.engine.open_grpc("gone", f"/{SERVICE}/Unary")
    closed = live.event(GrpcClosed)
    assert isinstance(closed, GrpcClosed)
    assert (closed.call, closed.status) == (call, 14)


def test_lent_calls_share_a_connection_and_do_not_wait_for_each_other(
    live: Live, lent: Callable[[str], int]
) -> None:
    held = lent("Count")
    live.engine.send(held, b"100000", end=True)
    quick = lent("Unary")
    live.engine.send(quick, b"quick", end=True)
    live.engine.grant(quick, 1)
    assert live.event(GrpcMessage) == GrpcMessage(quick, b"QUICK")
    live.engine.cancel(held)
    assert not [event for event in live.engine.wait(50) if isinstance(event, GrpcMessage)]


@pytest.mark.parametrize(("service", "healthy"), [("shop", True), ("cart", False)])
def test_health_is_what_the_service_says(live: Live, server: int, service: str, healthy: bool) -> None:
    check = plan.HealthCheck(
        plan.GrpcHealthCheck(service, ""), 5_000, 10_000, 0, 1, 1, plan.Fraction(100, 100)
    )
    live.apply(cluster("app", server, health_checks=(check,)))
    assert live.event(EndpointHealth) == EndpointHealth("app", f"{LOOPBACK}:{server}", healthy)
