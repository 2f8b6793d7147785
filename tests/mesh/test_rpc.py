"""Calls of a private protocol through a whole mesh: declared by a port's name, routed by service, method and header, judged
inbound, all of it changed while it runs."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine_bolt as bolt
import pytest
from engine_wire import Reader

from mainstay.up.plane import ask

pytestmark = [pytest.mark.mesh, pytest.mark.xdist_group("mesh"), pytest.mark.timeout(300)]

HERE = Path(__file__).parent / "applications"
QUOTES = "com.acme.Quotes:1.0"
MESH = f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: calls}}
spec:
  namespace: shop
  settings: {{mtls: STRICT, accessLog: JSON, traceSampling: 100}}
  services:
  - {{name: quotes, ports: [{{name: bolt-quotes, number: 12200}}]}}
  workloads:
  - {{name: quotes, service: quotes, version: v1, command: [$PYTHON, {HERE}/bolt_server.py], env: {{VERSION: v1}}}}
  - {{name: quotes-next, service: quotes, version: v2, command: [$PYTHON, {HERE}/bolt_server.py], env: {{VERSION: v2}}}}
  - {{name: front, command: [$PYTHON, -c, "import time; time.sleep(10000)"], calls: [quotes]}}
  config:
  - apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {{name: quotes}}
    spec:
      host: quotes
      subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
  - apiVersion: mainstay.dev/v1alpha1
    kind: RPCRoute
    metadata: {{name: quotes}}
    spec:
      parentRefs: [{{name: quotes}}]
      rules:
      - name: canary
        matches: [{{method: {{service: "{QUOTES}"}}, headers: [{{name: x-canary, value: "yes"}}]}}]
        filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-seen, value: canary}}]}}}}]
        backendRefs: [{{name: quotes, subset: v2}}]
      - name: stable
        matches: [{{method: {{service: "{QUOTES}"}}}}]
        backendRefs: [{{name: quotes, subset: v1}}]
      - name: closed
        matches: [{{method: {{method: shutdown}}}}]
        filters: [{{type: Reply, reply: {{outcome: denied}}}}]
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: quotes, namespace: shop}
spec:
  selector: {matchLabels: {app: quotes}}
  action: DENY
  rules: [{to: [{operation: {paths: ["/com.acme.Quotes:1.0/secret"]}}]}]
"""
WEIGHTS = """
apiVersion: mainstay.dev/v1alpha1
kind: RPCRoute
metadata: {name: quotes, namespace: shop}
spec:
  parentRefs: [{name: quotes}]
  rules:
  - backendRefs: [{name: quotes, subset: v1}, {name: quotes, subset: v2}]
"""
WRONG = WEIGHTS.replace("subset: v2", "subset: v9")
DENIED = 2


@pytest.fixture(scope="module")
def mesh(up: Callable[..., Any]) -> Any:
    started = up(MESH)
    started.wait_for("export MAINSTAY_CONTEXT")
    started.until(lambda: len(started.endpoints("front", "quotes")) == 2, "two endpoints of quotes")
    return started


class Caller:
    """A client on the caller's own address, as its application would be."""

    def __init__(self, mesh: Any) -> None:
        host, _, port = mesh.environment("front")["QUOTES_ADDR"].rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 20)
        self._reader = Reader(self._socket)
        self._number = 0

    def call(self, service: str, method: str, **headers: str) -> tuple[int, str]:
        """Status and body of the answer."""
        self._number += 1
        told = {name if "." in name else name.replace("_", "-"): value for name, value in headers.items()}
        self._socket.sendall(bolt.call(self._number, method, service=service, headers=told, timeout=20_000))
        answer = bolt.read_answer(self._reader)
        assert answer.number == self._number
        return answer.status, answer.body.decode()


def test_calls_go_by_service_and_header_and_the_rest_to_the_service(mesh: Any) -> None:
    caller = Caller(mesh)
    assert {caller.call(QUOTES, "price") for _ in range(10)} == {(0, f"v1 {QUOTES} price -")}
    canary = {caller.call(QUOTES, "price", x_canary="yes") for _ in range(10)}
    assert canary == {(0, f"v2 {QUOTES} price canary")}
    elsewhere = Counter(caller.call("com.acme.Other", "any")[1].split()[0] for _ in range(40))
    assert set(elsewhere) == {"v1", "v2"}, "calls of any other service go to the whole mesh service"
    status, body = caller.call("com.acme.Other", "shutdown")
    assert (status, body) == (DENIED, ""), "answered by the route, in Bolt's own words"


def test_policies_judge_calls_by_service_and_method(mesh: Any) -> None:
    assert mesh.run("apply", "-f", "-", text=POLICY).returncode == 0
    caller = Caller(mesh)
    mesh.until(lambda: caller.call(QUOTES, "secret")[0] == DENIED, "the policy holds")
    assert caller.call(QUOTES, "price")[0] == 0


def test_what_status_and_proxy_config_show(mesh: Any) -> None:
    told = json.loads(mesh.run("status", "-o", "json").stdout)
    front = next(each for each in told["proxies"] if "~front." in each["node"])
    assert front["types"]["generic-routes"] == {"sent": 1, "pending": 0, "refused": []}
    assert "GENERIC-ROUTES" in mesh.run("status").stdout
    shown = mesh.run("proxy-config", "front", "generic-routes").stdout
    assert "rpc|12200||quotes.shop.svc.cluster.local" in shown
    assert "applied" in shown
    listeners = mesh.run("proxy-config", "front", "listeners", "-o", "json").stdout
    assert '"protocol": "bolt"' in listeners


def test_calls_are_measured_logged_and_traced_on_both_sides(mesh: Any) -> None:
    caller = Caller(mesh)
    assert caller.call(QUOTES, "measure")[0] == 0
    assert caller.call(QUOTES, "measure", **{"rpc_trace_context.sofaTraceId": "0a0fe9d4148895514"})[0] == 0
    called = 'request_service="com.acme.Quotes:1.0",request_method="measure"} 2'
    front, quotes = (mesh.environment(name)["HOST"] for name in ("front", "quotes"))
    for host, reporter, others in (
        (front, "source", ('destination_workload="quotes"', 'destination_version="v1"')),
        (quotes, "destination", ('source_principal="spiffe://cluster.local/ns/shop/sa/front"',)),
    ):
        _, text = ask(host, 15_090, "GET", "/stats/prometheus")
        [line] = [
            line for line in text.splitlines() if "istio_requests_total" in line and line.endswith(called)
        ]
        for label in (f'reporter="{reporter}"', 'request_protocol="bolt"', 'response_code="200"', *others):
            assert label in line
        assert 'connection_security_policy="mutual_tls"' in line

    def logged() -> list[dict[str, Any]]:
        text = "".join(path.read_text() for path in (mesh.state / "logs").glob("*"))
        found = [
            json.loads(line) for line in text.splitlines() if line.startswith("{") and '"measure"' in line
        ]
        return [line for line in found if line.get("method") == "measure"]

    mesh.until(lambda: len(logged()) == 4, "two lines of each sidecar")
    assert {(line["authority"], line["protocol"], line["rpc_status"]) for line in logged()} == {
        (QUOTES, "bolt", 0)
    }
    traces = Counter(line["trace_id"] for line in logged())
    assert traces.pop("0a0fe9d4148895514") == 2, "what an application begins"
    assert list(traces.values()) == [2], "one begins where none was, and the other side goes on with it"


def test_a_wrong_route_changes_nothing_and_a_right_one_moves_calls_at_once(mesh: Any) -> None:
    refused = mesh.run("apply", "-f", "-", text=WRONG)
    assert refused.returncode != 0
    assert "spec.rules[0].backendRefs[1].subset" in refused.stderr
    caller = Caller(mesh)
    assert caller.call(QUOTES, "price") == (0, f"v1 {QUOTES} price -")
    assert mesh.run("apply", "-f", "-", text=WEIGHTS).returncode == 0
    mesh.until(lambda: caller.call(QUOTES, "price")[1].startswith("v2"), "calls of v1's go to v2 too")
    seen = Counter(caller.call(QUOTES, "price")[1].split()[0] for _ in range(60))
    assert seen["v1"] > 10
    assert seen["v2"] > 10
