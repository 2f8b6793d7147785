"""Unchanged Java SOFARPC applications in the shop: all they know is `protocol("mesh")` and the registry's address."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import pytest
import yaml
from tests.rpc.rpc_programs import SOFA

from mainstay import examples
from mainstay.up.plane import ask

pytestmark = [
    pytest.mark.mesh,
    pytest.mark.peers,
    pytest.mark.xdist_group("mesh"),
    pytest.mark.timeout(300),
]

SHOP = Path(examples.__file__).parent / "shop"
SERVICE = "Echo:1.0"


def java(*arguments: str, gate: Path | None = None) -> str:
    """A line for a shell, which puts in what the mesh tells its applications; as YAML writes it."""
    quoted = " ".join(shlex.quote(each) for each in SOFA.argv())
    wait = f"until [ -e {gate} ]; do sleep 0.1; done; " if gate else ""
    return json.dumps(f"{wait}exec {quoted} Peer {' '.join(arguments)}")


def mesh_file(gate: Path) -> str:
    """The shop, joined by a caller, and by providers that start when there is the file ``gate``."""
    registry = ("registry", "http://$REGISTRY_ADDR")
    provider = java("serve", "$INSTANCE", "sofa", "$HOST:$RPC_PORT", *registry, gate=gate)
    caller = java("web", "$HOST", "$PORT")
    mesh = yaml.safe_load((SHOP / "mesh.yaml").read_text())
    joining = yaml.safe_load(f"""
  services:
  - {{name: portal, ports: [{{name: http, number: 8000, protocol: http}}]}}
  - {{name: gray-portal, ports: [{{name: http, number: 8000, protocol: http}}]}}
  workloads:
  - {{name: portal, service: portal, command: [sh, -c, {caller}], registry: own}}
  - {{name: echo, version: v1, command: [sh, -c, {provider}], registry: own}}
  - {{name: echo-next, version: v2, command: [sh, -c, {provider}], registry: own}}
  - {{name: gray, command: [sh, -c, {provider}], registry: own, env: {{GROUP: gray, WEIGHT: "50"}}}}
  - name: gray-portal
    service: gray-portal
    command: [sh, -c, {caller}]
    registry: own
    env: {{GROUP: gray}}
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
""")
    # The shop's programs lie beside its own file; its steps are another test's.
    for workload in mesh["spec"]["workloads"]:
        places = (SHOP / part for part in workload["command"])
        workload["command"] = [
            str(place) if place.is_file() else part
            for place, part in zip(places, workload["command"], strict=True)
        ]
    for part, more in joining.items():
        mesh["spec"][part] += more
    del mesh["spec"]["steps"]
    return str(yaml.safe_dump(mesh))


class Shop(NamedTuple):
    mesh: Any
    gate: Path


@pytest.fixture(scope="module")
def shop(up: Any, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    gate = tmp_path_factory.mktemp("gate") / "open"
    running = up(mesh_file(gate))
    running.wait_for("portal: answers")
    return Shop(running, gate)


@pytest.fixture
def mesh(shop: Shop) -> Any:
    """With its providers."""
    shop.gate.touch()
    shop.mesh.until(lambda: call(shop.mesh, "echo", "hello") == {"value": "hello"}, "a call")
    return shop.mesh


def call(mesh: Any, method: str, text: str = "", caller: str = "portal", **options: str) -> dict[str, str]:
    """One call of the caller's; its consumer asks the registry, and dials port 12220 of the same host."""
    environment = mesh.environment(caller)
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


def test_a_consumer_may_subscribe_before_there_is_a_provider(shop: Shop) -> None:
    """The consumer stays the same; it is told nothing when providers come, for the data port's address does not change."""
    before = call(shop.mesh, "echo", "early", timeout="5000")
    assert before["error"] == "SofaRpcException", before
    shop.gate.touch()
    shop.mesh.until(
        lambda: call(shop.mesh, "echo", "late", timeout="5000") == {"value": "late"}, "the provider's answer"
    )


def test_they_call_each_other_over_mutual_tls_and_are_canaried_by_header(mesh: Any) -> None:
    mesh.until(lambda: call(mesh, "echo", "hello") == {"value": "hello"}, "a call")
    mesh.until(lambda: call(mesh, "who", **{"header.x-user": "kim"}) == {"value": "echo-next"}, "the canary")
    for user, provider in (("lee", "echo"), ("kim", "echo-next")) * 2:
        assert call(mesh, "who", **{"header.x-user": user}) == {"value": provider}
    assert call(mesh, "fail", "broken") == {"error": "IllegalStateException", "message": "broken"}
    assert call(mesh, "echo", "c", count="200", how="future") == {"value": "200"}


def test_a_group_parts_them_as_in_a_registry_of_sofa(mesh: Any) -> None:
    mesh.until(lambda: call(mesh, "who", caller="gray-portal") == {"value": "gray"}, "the group's provider")
    assert call(mesh, "who", caller="gray-portal", **{"header.x-user": "kim"}) == {"value": "gray"}
    assert call(mesh, "who") == {"value": "echo"}
    status, text = ask(mesh.environment("gray")["HOST"], 15_000, "GET", "/mainstay/status")
    assert status == 200
    assert json.loads(text)["application"]["weights"] == {f"{SERVICE}@gray": 50}


def test_their_calls_are_seen_with_service_and_method(mesh: Any) -> None:
    for workload, reporter in (("portal", "source"), ("echo", "destination")):
        _, figures = ask(mesh.environment(workload)["HOST"], 15_090, "GET", "/stats/prometheus")
        ours = [
            line
            for line in figures.splitlines()
            if line.startswith("istio_requests_total{") and f'reporter="{reporter}"' in line
        ]
        every = (
            'request_protocol="bolt"',
            f'request_service="{SERVICE}"',
            'request_method="echo"',
            'mutual_tls"',
        )
        wanted = every if reporter == "destination" else every[:3]
        assert any(all(word in line for word in wanted) for line in ours), ours
