"""What callers inside ask of a router by `x-envoy-*` fields, on Envoy and on Mainstay: the same tries, statuses and fields."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ports import free_port

pytestmark = pytest.mark.envoy

TYPE = "type.googleapis.com/envoy.extensions."
INSIDE = {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}
RETRY = {"retry_on": "connect-failure", "num_retries": 2, "per_try_timeout": "0.7s"}
ROUTES: list[dict[str, Any]] = [
    {"match": {"prefix": "/policy"}, "route": {"cluster": "app", "timeout": "2s", "retry_policy": RETRY}},
    {
        "match": {"prefix": "/limited"},
        "route": {
            "cluster": "app",
            "retry_policy": {
                "retry_on": "5xx",
                "num_retries": 2,
                "retriable_request_headers": [{"name": "x-idempotent", "present_match": True}],
            },
        },
    },
    {
        "match": {"prefix": "/short"},
        "route": {"cluster": "app", "timeout": "0.3s", "retry_policy": {**RETRY, "per_try_timeout": "5s"}},
    },
    {
        "match": {"prefix": "/none"},
        "route": {"cluster": "app", "retry_policy": {"retry_on": "5xx", "num_retries": 0}},
    },
    {"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0.5s"}},
]

ON = "x-envoy-retry-on"
MOST = "x-envoy-max-retries"
ASKED: list[tuple[str, dict[str, str]]] = [
    ("/503", {}),
    ("/503", {ON: "5xx"}),
    ("/503", {ON: "5xx", MOST: "3"}),
    ("/503", {ON: "5xx", MOST: "0"}),
    ("/503", {MOST: "3"}),
    ("/503", {ON: "gateway-error,retriable-4xx"}),
    ("/500", {ON: "gateway-error,retriable-4xx"}),
    ("/409", {ON: "gateway-error,retriable-4xx"}),
    ("/200", {ON: "5xx"}),
    ("/418", {ON: "retriable-status-codes", "x-envoy-retriable-status-codes": "418,419"}),
    ("/420", {ON: "retriable-status-codes", "x-envoy-retriable-status-codes": "418,419"}),
    ("/418", {"x-envoy-retriable-status-codes": "418,419"}),
    ("/200?x-again", {ON: "retriable-headers", "x-envoy-retriable-header-names": "x-again,x-other"}),
    ("/200?x-else", {ON: "retriable-headers", "x-envoy-retriable-header-names": "x-again,x-other"}),
    ("/200?grpc-status=14", {"x-envoy-retry-grpc-on": "unavailable", "content-type": "application/grpc"}),
    ("/200?grpc-status=13", {"x-envoy-retry-grpc-on": "unavailable", "content-type": "application/grpc"}),
    ("/503?x-envoy-overloaded=true", {ON: "5xx"}),
    ("/503?x-envoy-ratelimited", {ON: "5xx"}),
    ("/503?x-envoy-ratelimited", {ON: "envoy-ratelimited"}),
    ("/policy/503", {}),
    ("/policy/503", {ON: "5xx"}),
    ("/policy/503", {ON: "5xx", MOST: "1"}),
    ("/limited/503", {}),
    ("/limited/503", {"x-idempotent": "yes"}),
    ("/limited/503", {ON: "5xx", MOST: "1"}),
    ("/none/503", {}),
    ("/none/503", {MOST: "1"}),
    ("/short/200", {}),
    ("/short/200?wait", {}),
    ("/200?wait", {}),
    ("/200?wait", {"x-envoy-upstream-rq-timeout-alt-response": "true"}),
    ("/200", {"x-envoy-upstream-rq-timeout-ms": "2000"}),
    ("/200", {"x-envoy-upstream-rq-timeout-ms": "0"}),
    ("/200", {"x-envoy-upstream-rq-per-try-timeout-ms": "100"}),
    ("/200?wait", {"x-envoy-upstream-rq-per-try-timeout-ms": "100", ON: "5xx"}),
    ("/200", {"x-envoy-upstream-alt-stat-name": "a", "x-envoy-hedge-on-per-try-timeout": "true"}),
]


class Failing(BaseHTTPRequestHandler):
    """Answers `/STATUS?FIELD=VALUE` as it says, and what it got of `x-envoy-*`; `wait` is not answered."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if query == "wait":
            self.rfile.read(1)
            return
        body = "".join(
            sorted(
                f"{name.lower()}: {value}\n"
                for name, value in self.headers.items()
                if name.lower()[:2] == "x-"
            )
        )
        self.send_response(int(path.rpartition("/")[2]))
        if query:
            name, _, value = query.partition("=")
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def failing() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield int(server.server_port)
    server.shutdown()


def bootstrap(path: Path, port: int, application: int) -> Path:
    def address(number: int) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": number}}}

    host = {"name": "all", "domains": ["*"], "routes": ROUTES, "include_attempt_count_in_response": True}
    manager = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "use_remote_address": True,
        "internal_address_config": INSIDE,
        "http_filters": [
            {"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}
        ],
        "route_config": {"name": "all", "virtual_hosts": [host]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    cluster = {
        "name": "app",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "app",
            "endpoints": [{"lb_endpoints": [{"endpoint": address(application)}]}],
        },
    }
    listener = {"name": "front", **address(port), "filter_chains": [chain]}
    path.write_text(yaml.safe_dump({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    return path


def ask(port: int, path: str, fields: dict[str, str]) -> tuple[int, str | None, list[str]]:
    """Status, number of tries, and what the application saw."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=fields)
        response = connection.getresponse()
        lines = response.read().decode().splitlines()
        tries = response.getheader("x-envoy-attempt-count")
    finally:
        connection.close()
    passing: tuple[str, ...] = ("x-request-id", "x-forwarded-for")
    # Another try is told how much time is left, which differs.
    if tries not in (None, "1"):
        passing = (*passing, "x-envoy-expected-rq-timeout-ms")
    return response.status, tries, [line for line in lines if line.partition(":")[0] not in passing]


def test_callers_inside_are_obeyed_alike(
    start: Callable[[str, Path, int], None], failing: int, tmp_path: Path
) -> None:
    ports = {}
    for kind in ("envoy", "mainstay"):
        ports[kind] = free_port()
        start(kind, bootstrap(tmp_path / f"{kind}.yaml", ports[kind], failing), ports[kind])
    differences = []
    for question in ASKED:
        theirs, ours = ask(ports["envoy"], *question), ask(ports["mainstay"], *question)
        if theirs != ours:
            differences.append(f"{question}\n   envoy {theirs}\nmainstay {ours}")
    assert not differences, "\n".join(differences)
