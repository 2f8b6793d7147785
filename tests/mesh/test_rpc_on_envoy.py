"""Dubbo through Envoy and through Mainstay in one mesh: the same objects, the same answers, mutual TLS between them; and what
Envoy does not do is said."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.mesh,
    pytest.mark.envoy,
    pytest.mark.xdist_group("mesh"),
    pytest.mark.timeout(300),
]

HERE = Path(__file__).parent / "applications"
WAITS = '[$PYTHON, -c, "import time; time.sleep(10000)"]'
MESH = f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: ledgers}}
spec:
  namespace: shop
  settings: {{mtls: STRICT}}
  services:
  - {{name: ledger, ports: [{{name: dubbo, number: 20880}}]}}
  - {{name: quotes, ports: [{{name: bolt, number: 12200}}]}}
  workloads:
  - {{name: ledger, service: ledger, version: v1, command: [$PYTHON, {HERE}/dubbo.py], env: {{VERSION: v1}}}}
  - name: ledger-next
    service: ledger
    version: v2
    proxy: envoy
    command: [$PYTHON, {HERE}/dubbo.py]
    env: {{VERSION: v2}}
  - {{name: quotes, service: quotes, command: [$PYTHON, {HERE}/bolt_server.py], env: {{VERSION: v1}}}}
  - {{name: front, command: {WAITS}, calls: [ledger]}}
  - {{name: front-envoy, proxy: envoy, command: {WAITS}, calls: [ledger, quotes]}}
  config:
  - apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {{name: ledger}}
    spec:
      host: ledger
      subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
  - apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {{name: ledger}}
    spec:
      hosts: [ledger]
      http:
      - match: [{{uri: {{exact: /com.acme.Ledger/post}}, headers: {{tag: {{exact: gray}}}}}}]
        route: [{{destination: {{host: ledger, subset: v2}}}}]
      - match: [{{uri: {{prefix: /com.acme.Ledger/}}}}]
        route: [{{destination: {{host: ledger, subset: v1}}}}]
"""
OK = 20


@pytest.fixture(scope="module")
def mesh(up: Callable[..., Any]) -> Any:
    envoy = os.environ.get("MAINSTAY_TEST_ENVOY", "")
    assert envoy, "MAINSTAY_TEST_ENVOY has to name the Envoy binary: `make test` installs one"
    started = up(MESH, "--proxy-path", envoy)
    started.wait_for("export MAINSTAY_CONTEXT")
    for caller in ("front", "front-envoy"):
        _await(started, caller)
    return started


def _await(mesh: Any, caller: str) -> None:
    """Until a caller reaches both versions."""
    for tag, version in (("", "v1"), ("gray", "v2")):
        wanted = (OK, version)
        mesh.until(
            lambda tag=tag, wanted=wanted: call(mesh, caller, "com.acme.Ledger", "post", tag=tag) == wanted,
            f"{caller} reaches {version}",
        )


def text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def call(mesh: Any, caller: str, service: str, method: str, **attachments: str) -> tuple[int, str]:
    """Status and what the server said, as the caller's application would be answered."""
    host, _, port = mesh.environment(caller)["LEDGER_ADDR"].rpartition(":")
    pairs = b"".join(text(name) + text(value) for name, value in attachments.items())
    body = b"".join(map(text, ("2.0.2", service, "1.0", method, ""))) + b"H" + pairs + b"Z"
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.sendall(struct.pack(">HBBqI", 0xDABB, 0xC2, 0, 7, len(body)) + body)
        file = connection.makefile("rb")
        _, _, status, number, length = struct.unpack(">HBBqI", file.read(16))
        answer = file.read(length)
        assert number == 7
    said = answer[2 : 2 + answer[1]].decode() if answer[:1] == b"\x91" else ""
    return status, said


NOT_FOUND, SERVER_ERROR = 60, 80


@pytest.mark.parametrize(("caller", "told"), [("front", NOT_FOUND), ("front-envoy", SERVER_ERROR)])
def test_the_same_routes_hold_whoever_carries_the_calls(mesh: Any, caller: str, told: int) -> None:
    assert {call(mesh, caller, "com.acme.Ledger", "post") for _ in range(5)} == {(OK, "v1")}
    assert {call(mesh, caller, "com.acme.Ledger", "post", tag="gray") for _ in range(5)} == {(OK, "v2")}
    assert {call(mesh, caller, "com.acme.Ledger", "list", tag="gray") for _ in range(5)} == {(OK, "v1")}
    # The VirtualService has no rule for it; Envoy's codec has no other status for that.
    assert call(mesh, caller, "com.acme.Other", "post")[0] == told


def test_envoy_takes_routes_over_its_stream_and_what_it_does_not_do_is_said(mesh: Any) -> None:
    told = json.loads(mesh.run("status", "-o", "json").stdout)
    envoy = next(
        each for each in told["proxies"] if "sidecar~" in each["node"] and "~front-envoy." in each["node"]
    )
    assert envoy["software"] == "envoy"
    assert envoy["types"]["generic-routes"] == {"sent": 1, "pending": 0, "refused": []}
    assert all(not state["refused"] for state in envoy["types"].values())
    said = [problem for problem in told["problems"] if problem["code"] == "MS4203"]
    assert [problem["object"] for problem in said] == ["Service/shop/quotes"]
    assert "port 12200 speaks bolt" in said[0]["reason"]
