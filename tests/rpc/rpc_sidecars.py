"""Sidecars as processes, and the road of a pair of peers through two of them with mutual TLS between."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpc_bootstrap import (
    TLS_INSPECTOR,
    TYPE,
    accepting,
    chain,
    check,
    cluster,
    described,
    dialling,
    first_of,
    listener,
    table,
    to,
    when,
    write,
)
from rpc_programs import LOOPBACK

from ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpc_bootstrap import Fields, Leaves

HASTE = "1s"
"""The timeout of the listener `hasty`."""

_ROOMY: Fields = {
    "thresholds": [
        dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), 4_096)
    ]
}
_HTTP2 = ("h2",)
_HCM = TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager"
# gRPC, which Triple is, tells failures of ours as a status of its own: `unavailable`.
_RETRY: Fields = {
    "retry_on": "connect-failure,reset,5xx,unavailable",
    "num_retries": 3,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {"@type": TYPE + "retry.host.previous_hosts.v3.PreviousHostsPredicate"},
        }
    ],
    "host_selection_retry_max_attempts": 3,
}


class Processes:
    """Proxies from bootstrap files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._logs: list[Path] = []

    def start(self, kind: str, bootstrap: Path, port: int) -> None:
        """Starts `mainstay` or `envoy` and waits until its port takes connections."""
        log = self._folder / f"{bootstrap.stem}-{kind}.log"
        if kind == "envoy":
            binary = os.environ.get("MAINSTAY_TEST_ENVOY", "")
            assert binary, "run the tests with `make test`, which installs Envoy"
            flags = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
            command = [binary, "-c", str(bootstrap), *flags]
        else:
            flags = ["--admin-port", "0", "--health-port", "0", "--metrics-port", "0", "--concurrency", "1"]
            flags += ["--drain-min", "0s"]
            command = [sys.executable, "-m", "mainstay", "sidecar", "--bootstrap", str(bootstrap), *flags]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        self._started.append(process)
        self._logs.append(log)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            assert process.poll() is None, f"{kind} ended:\n{log.read_text()}"
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
                return
            threading.Event().wait(0.02)
        raise AssertionError(f"{kind} does not listen on {port}:\n{log.read_text()}")

    def said(self) -> str:
        return "\n".join(f"{log.name}:\n{log.read_text()[-4_000:]}" for log in self._logs)

    def close(self) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Road:
    """Three ways in at the caller's sidecar, two providers behind the other.

    `main` goes to provider `plain`, and to `canary` with the header `x-user: kim`; `hasty` gives `plain` little time; `both`
    takes either and tries the other when one fails, for the service is one that may be called twice.
    """

    def __init__(
        self, wire: str, header: str, providers: Mapping[str, int], leaves: Leaves, folder: Path, **codec: str
    ) -> None:
        self._http = wire == "tri"
        self._codec = described(wire, **codec)
        self._alpn = _HTTP2 if self._http else ("istio",)
        inbound = {name: free_port() for name in providers}
        server = self._beside_providers(folder / "server.yaml", inbound, providers, leaves)
        self._ports = {name: free_port() for name in ("main", "hasty", "both")}
        caller = self._beside_caller(folder / "caller.yaml", header, inbound, leaves)
        self.processes = Processes(folder)
        try:
            for file, port in ((server, inbound["plain"]), (caller, self._ports["main"])):
                self.processes.start("mainstay", file, port)
        except BaseException:
            self.processes.close()
            raise

    def _beside_providers(
        self, file: Path, inbound: Mapping[str, int], providers: Mapping[str, int], leaves: Leaves
    ) -> Path:
        listeners, clusters = [], []
        for name, port in inbound.items():
            made = self._chain([self._all(name)])
            made |= accepting(leaves, "server", "caller", self._alpn)
            listeners.append(listener(port, made, listener_filters=[TLS_INSPECTOR]))
            clusters.append(self._cluster(name, providers[name]))
        return write(file, listeners, clusters)

    def _beside_caller(self, file: Path, header: str, inbound: Mapping[str, int], leaves: Leaves) -> Path:
        tls = dialling(leaves, "caller", "server", self._alpn)
        clusters = [self._cluster(name, port, **tls) for name, port in inbound.items()]
        clusters.append(self._cluster("both", *inbound.values(), **tls))
        ways = {
            "main": [self._all("canary", header), self._all("plain")],
            "hasty": [self._all("plain", timeout=HASTE)],
            "both": [self._all("both", retry=True)],
        }
        listeners = [listener(self._ports[name], self._chain(routes)) for name, routes in ways.items()]
        return write(file, listeners, clusters)

    def _cluster(self, name: str, *ports: int, **more: Any) -> Fields:
        http: Fields = {"http2_protocol_options": {}} if self._http else {}
        return cluster(name, *ports, circuit_breakers=_ROOMY, **http, **more)

    def _all(self, to_cluster: str, header: str = "", *, timeout: str = "60s", retry: bool = False) -> Fields:
        """A route in Envoy's words for HTTP: for all calls, or those with the header."""
        match: Fields = {"prefix": "/"}
        if header:
            match["headers"] = [{"name": header, "string_match": {"exact": "kim"}}]
        route: Fields = {"cluster": to_cluster, "timeout": timeout}
        if retry:
            route["retry_policy"] = _RETRY
        return {"match": match, "route": route}

    def _chain(self, routes: list[Fields]) -> Fields:
        return _http_chain(routes) if self._http else chain(self._codec, table(_matcher(routes)))

    def at(self, name: str) -> str:
        return f"{LOOPBACK}:{self._ports[name]}"

    def close(self) -> None:
        self.processes.close()


def _matcher(routes: list[Fields]) -> Fields:
    """The same routes as the generic proxy's."""
    *special, last = routes
    entries = []
    for route in special:
        (header,) = route["match"]["headers"]
        entries.append(when(check(header["name"], **header["string_match"]), _action(route["route"])))
    return first_of(*entries, otherwise=_action(last["route"]))


def _action(route: Fields) -> Fields:
    more: Fields = {"timeout": route["timeout"]}
    if "retry_policy" in route:
        kept: Fields = {"@type": "type.googleapis.com/envoy.config.route.v3.Route"}
        kept |= {"route": {"retry_policy": route["retry_policy"]}}
        more["per_filter_config"] = {"mainstay.route": kept}
    return to(route["cluster"], **more)


def _http_chain(routes: list[Fields]) -> Fields:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"},
    }
    manager: Fields = {
        "@type": _HCM,
        "stat_prefix": "rpc",
        "route_config": {
            "name": "routes",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
        },
        "http_filters": [router],
    }
    return {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
