"""What is wrong is refused with place and remedy; what only a proxy can refuse is shown with its reason, and traffic goes on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mainstay import examples

pytestmark = [pytest.mark.mesh, pytest.mark.xdist_group("mesh"), pytest.mark.timeout(300)]

SHOP = Path(examples.__file__).parent / "shop"
HERE = Path(__file__).parent / "applications"
MESH = f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: refusals}}
spec:
  namespace: shop
  settings: {{mtls: STRICT}}
  services:
  - {{name: web, ports: [{{name: http, number: 8000, protocol: http}}]}}
  - {{name: prices, ports: [{{name: grpc, number: 9000, protocol: grpc}}]}}
  workloads:
  - name: web
    service: web
    command: [$PYTHON, {HERE}/web.py]
    env: {{SHOP: {SHOP}}}
    calls: [prices]
    probe: {{path: /healthz}}
  - {{name: prices, service: prices, command: [$PYTHON, {SHOP}/prices.py]}}
  gateways:
  - {{name: edge}}
  config:
  - apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {{name: web}}
    spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: web, port: {{number: 8000}}}}}}]}}]}}
  load:
  - {{to: edge, path: /, rate: 50, connections: 4}}
"""
WRONG = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
"""
UNKNOWN_FIELD = "  - rout: [{destination: {host: web}}]\n"
BAD_REGEX = """\
  - match: [{uri: {regex: "/(["}}]
    route: [{destination: {host: web}}]
"""
MISSING_SUBSET = "  - route: [{destination: {host: web, subset: v9, port: {number: 8000}}}]\n"


@pytest.fixture(scope="module")
def mesh(up: Callable[..., Any]) -> Any:
    started = up(MESH)
    started.wait_for("requests/s to")
    return started


def mainstay(mesh: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mainstay", *arguments],
        env={**os.environ, "MAINSTAY_CONTEXT": str(mesh.state / "context.json")},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("rest", "line", "path", "remedy"),
    [
        pytest.param(UNKNOWN_FIELD, 8, "spec.http[0].rout", "route", id="unknown field"),
        pytest.param(BAD_REGEX, 8, "spec.http[0].match[0].uri.regex", "RE2", id="bad regex"),
        pytest.param(
            MISSING_SUBSET, 8, "spec.http[0].route[0].destination", "DestinationRule", id="missing subset"
        ),
    ],
)
def test_wrong_object_is_refused_with_place_and_remedy(
    mesh: Any, tmp_path: Path, rest: str, line: int, path: str, remedy: str
) -> None:
    before = mainstay(mesh, "get", "virtualservice", "web", "-n", "shop", "-o", "json").stdout
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG + rest)
    done = mainstay(mesh, "apply", "-n", "shop", "-f", str(file))
    assert done.returncode == 3, done.stdout + done.stderr
    assert f"--> {file}:{line}" in done.stderr
    assert path in done.stderr
    assert "help: " in done.stderr
    assert remedy in done.stderr.partition("help: ")[2], done.stderr
    assert mainstay(mesh, "get", "virtualservice", "web", "-n", "shop", "-o", "json").stdout == before
    failed = mesh.count().failed
    mesh.carry(50)
    assert mesh.count().failed == failed


def test_what_only_a_proxy_can_refuse_is_shown_with_its_reason_while_traffic_goes_on(
    mesh: Any, tmp_path: Path
) -> None:
    address = mesh.environment("web")["HOST"]
    node = "web.shop"
    failed = mesh.count().failed
    with socket.create_server((address, 0)) as taken:
        port = taken.getsockname()[1]
        sidecar = yaml.safe_load(mainstay(mesh, "get", "sidecar", "web", "-n", "shop", "-o", "json").stdout)
        listener = {
            "port": {"number": port, "name": "taken", "protocol": "GRPC"},
            "bind": address,
            "captureMode": "NONE",
            "hosts": ["./prices.shop.svc.cluster.local"],
        }
        sidecar["spec"]["egress"].append(listener)
        file = tmp_path / "sidecar.json"
        file.write_text(json.dumps({**sidecar, "metadata": {"name": "web", "namespace": "shop"}}))
        done = mainstay(mesh, "apply", "-n", "shop", "-f", str(file))
        assert done.returncode == 0, done.stderr

        mesh.until(lambda: "refused listeners" in mainstay(mesh, "status").stdout, "a refusal in `status`")
        told = mainstay(mesh, "status").stdout
        [row] = [row for row in told.splitlines() if node in row and "refused 1 of" in row]
        name, reason = told.partition("refused listeners")[2].splitlines()[:2]
        assert name.strip() == f"{address}_{port}:", told
        assert "Address already in use" in reason, told
        mesh.wait_for("refused listeners")  # `up` tells it too
        mesh.carry(100)
        assert mesh.count().failed == failed, row

    # The author takes it back: nothing is refused any more.
    sidecar["spec"]["egress"].remove(listener)
    file.write_text(json.dumps({**sidecar, "metadata": {"name": "web", "namespace": "shop"}}))
    assert mainstay(mesh, "apply", "-n", "shop", "-f", str(file)).returncode == 0
    mesh.until(lambda: "refused" not in mainstay(mesh, "status").stdout, "no refusal in `status`")
    mesh.carry(50)
    assert mesh.count().failed == failed
