"""Applications that know nothing of the mesh but SOFARPC's registry API: they publish and call, the mesh does the rest."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mainstay.up.plane import ControlPlane, ask

pytestmark = [pytest.mark.mesh, pytest.mark.xdist_group("mesh"), pytest.mark.timeout(300)]

SOFA = Path(__file__).parent / "applications" / "sofa.py"
HELLO = "com.example.Hello:1.0"

MESH = f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: registry}}
spec:
  namespace: shop
  settings: {{mtls: STRICT}}
  services:
  - {{name: front, ports: [{{name: http, number: 8000, protocol: http}}]}}
  - {{name: gray-front, ports: [{{name: http, number: 8000, protocol: http}}]}}
  workloads:
  - {{name: hello, version: v1, command: [$PYTHON, {SOFA}, publish, "{HELLO}"], registry: own, instances: 2}}
  - {{name: canary, version: v2, command: [$PYTHON, {SOFA}, publish, "{HELLO}"], registry: own}}
  - {{name: front, service: front, command: [$PYTHON, {SOFA}, subscribe, "{HELLO}"], registry: own}}
  - name: gray
    command: [$PYTHON, {SOFA}, publish, "{HELLO}"]
    env: {{GROUP: gray}}
    registry: own
  - name: gray-front
    service: gray-front
    command: [$PYTHON, {SOFA}, subscribe, "{HELLO}"]
    env: {{GROUP: gray}}
    registry: own
  config:
  - apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {{name: hello}}
    spec:
      host: "{HELLO}"
      subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
  - apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {{name: hello}}
    spec:
      hosts: ["{HELLO}"]
      http:
      - match: [{{headers: {{colour: {{exact: red}}}}}}]
        route: [{{destination: {{host: "{HELLO}", subset: v2}}}}]
      - route: [{{destination: {{host: "{HELLO}", subset: v1}}}}]
"""


PYTHON = Path(__file__).parents[2] / ".venvs/rpc-python/bin/python"
ECHO = "com.python.Echo:1.0"

WITH_PYTHON = f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: registry-python}}
spec:
  namespace: shop
  settings: {{mtls: STRICT}}
  services:
  - {{name: front, ports: [{{name: http, number: 8000, protocol: http}}]}}
  - {{name: python, ports: [{{name: http, number: 8000, protocol: http}}]}}
  workloads:
  - {{name: hello, command: [$PYTHON, {SOFA}, publish, "{HELLO}"], registry: own}}
  - {{name: front, service: front, command: [$PYTHON, {SOFA}, subscribe, "{ECHO}"], registry: own}}
  - name: python
    service: python
    command: [{PYTHON}, {SOFA.with_name("sofa_python.py")}, "{ECHO}", "{HELLO}"]
    registry: localhost
"""


@pytest.fixture(scope="module")
def mesh(up: Any) -> Any:
    running = up(MESH)
    running.wait_for("front: answers")
    return running


def call(mesh: Any, query: str = "", caller: str = "front") -> dict[str, Any]:
    """One call of the caller to whatever publishes the service."""
    told: dict[str, Any] = json.loads(ask_caller(mesh, caller, query))
    return told


def ask_caller(mesh: Any, caller: str, query: str = "") -> str:
    environment = mesh.environment(caller)
    status, text = ask(environment["HOST"], int(environment["PORT"]), "GET", f"/{query}", timeout_s=10)
    assert status == 200, text
    return text


def providers(mesh: Any) -> set[str]:
    """Addresses of the service's first version that the caller's sidecar has."""
    api = ControlPlane.from_context(mesh.state / "context.json")
    [node] = [node for node in api.nodes() if "~front." in node]
    found = api.endpoints(node)
    return {
        address for cluster, addresses in found.items() if f"|v1|{HELLO}" in cluster for address in addresses
    }


def test_calls_reach_every_provider_over_mutual_tls(mesh: Any) -> None:
    mesh.until(lambda: len(providers(mesh)) == 2, "both providers")
    mesh.until(lambda: {call(mesh)["instance"] for _ in range(6)} == {"hello-1", "hello-2"}, "calls to both")
    told = call(mesh, "?colour=blue")
    assert (told["headers"]["service"], told["headers"]["colour"], told["body"]) == (HELLO, "blue", "hi")
    environment = mesh.environment("hello-1")
    _, figures = ask(environment["HOST"], 15_090, "GET", "/stats/prometheus")
    ours = [line for line in figures.splitlines() if line.startswith("istio_requests_total")]
    assert any('request_protocol="bolt"' in line and 'mutual_tls"' in line for line in ours), ours


def test_a_header_chooses_the_canary(mesh: Any) -> None:
    mesh.until(lambda: call(mesh, "?colour=red")["instance"] == "canary", "the canary")
    assert {call(mesh)["instance"] for _ in range(10)} == {"hello-1", "hello-2"}
    assert {call(mesh, "?colour=red")["instance"] for _ in range(10)} == {"canary"}


def test_callers_of_a_group_reach_its_provider_alone(mesh: Any) -> None:
    mesh.until(lambda: call(mesh, caller="gray-front")["instance"] == "gray", "the provider of the group")
    assert {call(mesh, "?colour=red", "gray-front")["instance"] for _ in range(6)} == {"gray"}
    assert "gray" not in {call(mesh)["instance"] for _ in range(10)}


def test_a_provider_that_dies_takes_no_calls_until_it_is_back(mesh: Any) -> None:
    mesh.until(lambda: len(providers(mesh)) == 2, "both providers")
    pid = mesh.application("hello-1")
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    mesh.until(lambda: call(mesh)["instance"] == "hello-2", "the other answers")
    mesh.until(lambda: mesh.application("hello-1") != pid, "it is started again")
    mesh.until(lambda: len(providers(mesh)) == 2, "both again")


def test_a_new_brain_or_control_plane_knows_what_was_registered(mesh: Any) -> None:
    mesh.until(lambda: len(providers(mesh)) == 2, "both providers")
    os.kill(mesh.control_plane(), signal.SIGKILL)
    mesh.until(lambda: len(providers(mesh)) == 2, "the control plane is back and knows both")
    for sidecar in ("front", "hello-1", "hello-2"):
        pid = mesh.sidecar(sidecar)
        os.kill(pid, signal.SIGKILL)
        mesh.until(lambda pid=pid, name=sidecar: mesh.sidecar(name) != pid, "its sidecar is started again")
    mesh.until(lambda: call(mesh)["body"] == "hi", "calls, though nobody registered anew")
    mesh.until(lambda: len(providers(mesh)) == 2, "both providers")


def test_a_rolling_restart_keeps_the_service_up(mesh: Any) -> None:
    mesh.until(lambda: len(providers(mesh)) == 2, "both providers")
    mesh.signal(signal.SIGHUP)
    mesh.until(lambda: any("hello-1: stopped in order" in line for line in mesh.lines), "the first restarts")
    answered = 0
    while not any("canary: stopped in order" in line for line in mesh.lines):
        assert call(mesh)["body"] == "hi"
        answered += 1
    assert answered > 0
    mesh.wait_for("every workload has been restarted")


def test_an_unchanged_application_on_the_python_library_publishes_and_calls(up: Any) -> None:
    assert PYTHON.exists(), "run the tests with `make test`, which installs SOFA's Python library"
    mesh = up(WITH_PYTHON)
    mesh.wait_for("python: answers")
    mesh.until(lambda: json.loads(ask_caller(mesh, "python"))["instance"] == "hello", "its calls")
    mesh.until(lambda: ask_caller(mesh, "front") == "python says hi", "calls to it")
    assert json.loads(ask_caller(mesh, "python"))["headers"]["sofa_head_target_service"] == HELLO
