"""A port that declares nothing, behind mutual TLS: the caller's sidecar finds out what is spoken and says so to the server's,
which judges and counts calls as on a declared one."""

from __future__ import annotations

import socket
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
DENIED = 2
MESH = f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: undeclared}}
spec:
  namespace: shop
  settings: {{mtls: STRICT}}
  services:
  - {{name: quotes, ports: [{{name: quotes, number: 12200}}]}}
  workloads:
  - {{name: quotes, service: quotes, command: [$PYTHON, {HERE}/bolt_server.py], env: {{VERSION: v1}}}}
  - {{name: front, command: [$PYTHON, -c, "import time; time.sleep(10000)"], calls: [quotes]}}
  config:
  - apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {{name: quotes}}
    spec:
      selector: {{matchLabels: {{app: quotes}}}}
      action: DENY
      rules: [{{to: [{{operation: {{paths: ["/{QUOTES}/secret"]}}}}]}}]
"""


def test_calls_of_an_undeclared_port_are_judged_and_counted_behind_mutual_tls(up: Callable[..., Any]) -> None:
    mesh = up(MESH)
    mesh.wait_for("export MAINSTAY_CONTEXT")
    mesh.until(lambda: len(mesh.endpoints("front", "quotes")) == 1, "the endpoint")
    host, _, port = mesh.environment("front")["QUOTES_ADDR"].rpartition(":")
    with socket.create_connection((host, int(port)), 20) as client:
        reader = Reader(client)

        def status(number: int, method: str) -> int:
            client.sendall(bolt.call(number, method, service=QUOTES, timeout=20_000))
            return bolt.read_answer(reader).status

        assert [status(1, "price"), status(2, "secret"), status(3, "price")] == [0, DENIED, 0]

    def counted() -> set[tuple[str, ...]]:
        _, text = ask(mesh.environment("quotes")["HOST"], 15_090, "GET", "/stats/prometheus")
        wanted = 'reporter="destination"', 'request_protocol="bolt"', f'request_service="{QUOTES}"'
        principal = 'source_principal="spiffe://cluster.local/ns/shop/sa/front"'
        lines = [line for line in text.splitlines() if line.startswith("istio_requests_total{")]
        return {
            (method, code)
            for line in lines
            for method, code in (("price", "200"), ("secret", "403"))
            if all(each in line for each in (*wanted, principal))
            and f'request_method="{method}"' in line
            and f'response_code="{code}"' in line
        }

    mesh.until(lambda: counted() == {("price", "200"), ("secret", "403")}, "what the server's side counted")
