"""Limits of the process hold when four workers share them, over both versions of HTTP."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from engine_grpc import unary
from engine_live import PATIENCE, Live
from engine_plans import LOOPBACK, cluster, forward, http_chain, listener, routes
from engine_wire import Reader, request, response

from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine_live import Server

    Serve = Callable[..., Server]


@pytest.fixture
def four() -> Iterator[Live]:
    engine = Live(4)
    yield engine
    engine.engine.shutdown(1_000)


def limited(tokens: int) -> plan.HttpFilter:
    whole = plan.Fraction(100, 100)
    bucket = plan.TokenBucket(tokens, tokens, 3_600_000)
    return plan.HttpFilter("limit", plan.LocalRateLimitFilter("limit", bucket, whole, whole, 429, (), False))


def denied(prefix: str) -> plan.HttpFilter:
    path = plan.PathPermission(plan.StringMatch(plan.PrefixText(prefix)))
    policy = plan.RbacPolicy("no", (path,), (plan.AnyPrincipal(),))
    return plan.HttpFilter("rbac", plan.RbacFilter(plan.RbacRules(False, (policy,)), None))


def test_a_breaker_lets_no_more_than_its_limit_through(four: Live, serve: Serve) -> None:
    release = threading.Event()
    running, most, lock = 0, 0, threading.Lock()

    def slow(connection: socket.socket) -> None:
        nonlocal running, most
        Reader(connection).message()
        with lock:
            running += 1
            most = max(most, running)
        release.wait(PATIENCE)
        with lock:
            running -= 1
        connection.sendall(response(200, b"late", "connection: close"))

    breakers = plan.CircuitBreakers(plan.Thresholds(max_requests=5), plan.Thresholds())
    four.apply(
        cluster("app", serve(slow).port, breakers=breakers),
        listener("web", http_chain(routes(("/", forward("app"))))),
    )
    refused = threading.Semaphore(0)

    def ask(_: int) -> int:
        with four.dial("web") as client:
            client.sendall(request("GET", "/"))
            answer = Reader(client).message()
            if answer.headers.get("x-envoy-overloaded") == "true":
                refused.release()
            return answer.status

    with ThreadPoolExecutor(20) as clients:
        answers = [clients.submit(ask, number) for number in range(20)]
        for _ in range(15):
            assert refused.acquire(timeout=PATIENCE)
        release.set()
        statuses = sorted(answer.result() for answer in answers)
    assert statuses == [200] * 5 + [503] * 15
    assert most <= 5


def test_filters_answer_grpc_in_its_own_words(four: Live) -> None:
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Say": grpc.unary_unary_rpc_method_handler(lambda message, _: message)
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Open", handlers),))
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    try:
        chain = http_chain(routes(("/", forward("app"))), filters=(denied("/test.Secret/"), limited(10)))
        four.apply(cluster("app", port, http=plan.UpstreamHttp(protocol="http2")), listener("web", chain))

        def call(method: str) -> grpc.StatusCode:
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(f"{LOOPBACK}:{four.port('web')}", options=options) as channel:
                try:
                    unary(channel, method)(b"x", timeout=PATIENCE)
                except grpc.RpcError as error:
                    return error.code()
            return grpc.StatusCode.OK

        assert call("/test.Secret/Say") is grpc.StatusCode.PERMISSION_DENIED
        with ThreadPoolExecutor(8) as clients:
            codes = list(clients.map(call, ["/test.Open/Say"] * 25))
        assert codes.count(grpc.StatusCode.OK) == 10
        assert codes.count(grpc.StatusCode.UNAVAILABLE) == 15
    finally:
        server.stop(None).wait()
