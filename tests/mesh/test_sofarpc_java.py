"""Unchanged Java SOFARPC applications in a mesh: all they know is `protocol("mesh")` and the registry's address."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from tests.rpc.rpc_programs import SOFA

from mainstay.up.plane import ask

pytestmark = [
    pytest.mark.mesh,
    pytest.mark.peers,
    pytest.mark.xdist_group("mesh"),
    pytest.mark.timeout(300),
]

SERVICE = "Echo:1.0"


def java(*arguments: str) -> str:
    """A line for a shell, which puts in what the mesh tells its applications."""
    quoted = " ".join(shlex.quote(each) for each in SOFA.argv())
    return f"exec {quoted} Peer {' '.join(arguments)}"


def mesh_file() -> str:
    provider = java("serve", "$INSTANCE", "sofa", "$HOST:$RPC_PORT", "registry", "http://$REGISTRY_ADDR")
    caller = java("web", "$HOST", "$PORT")
    return f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: sofarpc}}
spec:
  namespace: shop
  settings: {{mtls: STRICT}}
  services:
  - {{name: front, ports: [{{name: http, number: 8000, protocol: http}}]}}
  workloads:
  - {{name: front, service: front, command: [sh, -c, '{caller}'], registry: own}}
  - {{name: echo, version: v1, command: [sh, -c, '{provider}'], registry: own}}
  - {{name: echo-next, version: v2, command: [sh, -c, '{provider}'], registry: own}}
  config:
  - apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {{name: echo}}
    spec:
      host: "{SERVICE}"
      subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
  - apiVersion: mainstay.dev/v1alpha1
    kind: RPCRoute
    metadata: {{name: echo}}
    spec:
      parentRefs: [{{name: "{SERVICE}"}}]
      rules:
      - matches: [{{headers: [{{name: rpc_req_baggage.x-user, value: kim}}]}}]
        backendRefs: [{{name: "{SERVICE}", subset: v2}}]
      - backendRefs: [{{name: "{SERVICE}", subset: v1}}]
"""


@pytest.fixture(scope="module")
def mesh(up: Any) -> Any:
    running = up(mesh_file())
    running.wait_for("front: answers")
    return running


def call(mesh: Any, method: str, text: str = "", **options: str) -> dict[str, str]:
    """One call of the caller's; its consumer asks the registry, and dials port 12220 of the same host."""
    environment = mesh.environment("front")
    command = {
        "at": f"mesh http://{environment['REGISTRY_ADDR']}",
        "method": method,
        "text": text,
        **options,
    }
    query = urlencode(command)
    status, body = ask(environment["HOST"], int(environment["PORT"]), "GET", f"/?{query}", timeout_s=30)
    assert status == 200, body
    return dict(parse_qsl(body, keep_blank_values=True))


def test_they_call_each_other_over_mutual_tls_and_are_canaried_by_header(mesh: Any) -> None:
    mesh.until(lambda: call(mesh, "echo", "hello") == {"value": "hello"}, "a call")
    mesh.until(lambda: call(mesh, "who", **{"header.x-user": "kim"}) == {"value": "echo-next"}, "the canary")
    for user, provider in (("lee", "echo"), ("kim", "echo-next")) * 2:
        assert call(mesh, "who", **{"header.x-user": user}) == {"value": provider}
    assert call(mesh, "fail", "broken") == {"error": "IllegalStateException", "message": "broken"}
    assert call(mesh, "echo", "c", count="200", how="future") == {"value": "200"}


def test_their_calls_are_seen_with_service_and_method(mesh: Any) -> None:
    mesh.until(lambda: call(mesh, "echo", "hello") == {"value": "hello"}, "a call")
    for workload, reporter in (("front", "source"), ("echo", "destination")):
        _, figures = ask(mesh.environment(workload)["HOST"], 15_090, "GET", "/stats/prometheus")
        ours = [
            line
            for line in figures.splitlines()
            if line.startswith("istio_requests_total{") and f'reporter="{reporter}"' in line
        ]
        wanted = (
            'request_protocol="bolt"',
            f'request_service="{SERVICE}"',
            'request_method="echo"',
            'mutual_tls"',
        )
        wanted = wanted if reporter == "destination" else wanted[:3]
        assert any(all(word in line for word in wanted) for line in ours), ours
