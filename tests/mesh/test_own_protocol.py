"""A protocol that nobody has heard of is routed, retried, measured and encrypted from one YAML file alone."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainstay import examples
from mainstay.up.plane import ask

pytestmark = [pytest.mark.mesh, pytest.mark.xdist_group("mesh"), pytest.mark.timeout(300)]

SHOP = Path(examples.__file__).parent / "shop"
TELEGRAM = Path(__file__).parent / "applications" / "telegram.py"

MESH = f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: telegraph}}
spec:
  namespace: shop
  settings: {{mtls: STRICT}}
  services:
  - {{name: web, ports: [{{name: http, number: 8000, protocol: http}}]}}
  - {{name: post, ports: [{{name: telegram, number: 1844, protocol: telegram}}]}}
  workloads:
  - name: web
    service: web
    command: [$PYTHON, {TELEGRAM}, front]
    env: {{SHOP: {SHOP}}}
    calls: [post]
    probe: {{path: /healthz}}
  - {{name: post-v1, service: post, command: [$PYTHON, {TELEGRAM}, office], env: {{SHOP: {SHOP}}}}}
  - {{name: post-v2, service: post, version: v2, command: [$PYTHON, {TELEGRAM}, office], env: {{SHOP: {SHOP}}}}}
  gateways:
  - {{name: edge}}
  config:
  - apiVersion: mainstay.dev/v1alpha1
    kind: Protocol
    metadata: {{name: telegram}}
    spec:
      about: Made up by a test.
      detection: certain
      byteOrder: little
      fields:
      - {{name: mark, magic: "7467"}}
      - {{name: kind, size: 1, values: [1, 2, 7, 8]}}
      - {{name: size, size: 4}}
      - {{name: ticket, size: 4}}
      - {{name: code, size: 2, when: {{kind: [2]}}}}
      - {{name: stationLength, size: 1, when: {{kind: [1]}}}}
      - {{name: station, length: {{field: stationLength}}, when: {{kind: [1]}}}}
      - {{name: verbLength, size: 1, when: {{kind: [1]}}}}
      - {{name: verb, length: {{field: verbLength}}, when: {{kind: [1]}}}}
      - {{name: notesLength, size: 2, when: {{kind: [1, 2]}}}}
      - {{name: notes, length: {{field: notesLength}}, when: {{kind: [1, 2]}}}}
      - {{name: text, rest: true}}
      - {{name: sum, size: 4, when: {{kind: [1, 2]}}}}
      frameSize: {{field: size}}
      kinds:
      - {{kind: request, when: {{kind: [1]}}}}
      - {{kind: response, when: {{kind: [2]}}}}
      - {{kind: heartbeat, when: {{kind: [7]}}}}
      - {{kind: heartbeatAnswer, when: {{kind: [8]}}}}
      id: ticket
      body: {{field: text}}
      checksum: {{field: sum, algorithm: adler32, from: mark, to: text}}
      headers: {{field: notes, text: {{between: "=", behind: ";"}}}}
      service: [{{field: station}}]
      method: [{{field: verb}}]
      status:
        field: code
        outcomes:
        - {{values: [0], outcome: success}}
        - {{values: [3], outcome: overloaded}}
        - {{values: [4], outcome: notFound}}
      errorReply:
        set: {{kind: 2}}
        statuses: [{{outcome: overloaded, status: 3}}, {{outcome: notFound, status: 4}}]
        other: 5
        parts: {{text: [{{message: {{}}}}]}}
      heartbeat:
        send: {{set: {{kind: 7}}}}
        answer: {{set: {{kind: 8}}, copy: [ticket]}}
        interval: 10s
  - apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {{name: web}}
    spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: web, port: {{number: 8000}}}}}}]}}]}}
  - apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {{name: post}}
    spec: {{host: post, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}
  - apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {{name: post}}
    spec:
      hosts: [post]
      http:
      - match: [{{uri: {{exact: /post.Office/send}}, headers: {{priority: {{exact: express}}}}}}]
        route: [{{destination: {{host: post, subset: v2}}}}]
        retries: {{attempts: 2, retryOn: "503"}}
      - route: [{{destination: {{host: post, subset: v1}}}}]
        retries: {{attempts: 2, retryOn: "503"}}
  - apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {{name: post}}
    spec:
      selector: {{matchLabels: {{app: post}}}}
      rules:
      - from: [{{source: {{principals: [cluster.local/ns/shop/sa/web]}}}}]
        to: [{{operation: {{paths: [/post.Office/send]}}}}]
  expect: {{mtls: true, pairs: [{{from: web, to: post}}]}}
  load:
  - {{to: edge, path: /, rate: 20, connections: 4}}
"""


def test_a_protocol_from_a_file_has_all_that_the_mesh_can_do(up: Callable[..., Any]) -> None:
    mesh = up(MESH)
    mesh.wait_for("requests/s to")
    mesh.carry(100)
    _, text = ask(mesh.environment("web")["HOST"], 15_090, "GET", "/stats/prometheus")
    mesh.signal(signal.SIGINT)
    report = mesh.report()
    pairs = {(pair["source"], pair["destination"]): pair for pair in report["pairs"]}
    post = pairs["web", "post"]
    assert post["protocol"] == "telegram"
    assert post["mtls"] is True
    assert post["failures"] == 0, "whoever was busy was asked again"
    assert abs(post["versions"]["v1"] - post["versions"]["v2"]) <= 2, "by the header"

    assert re.search(
        r'istio_requests_total{[^}]*reporter="source"[^}]*request_protocol="telegram"'
        r'[^}]*request_service="post.Office"[^}]*request_method="send"',
        text,
    )
    retried = re.findall(r"envoy_cluster_upstream_rq_retry{[^}]*post[^}]*} (\d+)", text)
    assert sum(map(int, retried)) >= 20
