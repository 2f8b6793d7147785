"""Two meshes of one file, started at once: neither is in the other's way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainstay import examples

pytestmark = [pytest.mark.mesh, pytest.mark.xdist_group("mesh"), pytest.mark.timeout(300)]

SHOP = Path(examples.__file__).parent / "shop"
MESH = f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: twice}}
spec:
  namespace: shop
  settings: {{mtls: STRICT}}
  services: [{{name: catalogue, ports: [{{name: http, number: 8000, protocol: http}}]}}]
  workloads:
  - {{name: catalogue, service: catalogue, command: [$PYTHON, {SHOP}/catalogue.py], instances: 2}}
  gateways: [{{name: edge}}]
  config:
  - apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {{name: edge}}
    spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: catalogue, port: {{number: 8000}}}}}}]}}]}}
  load: [{{to: edge, rate: 40}}]
"""


def test_two_meshes_of_one_file_run_beside_each_other(up: Callable[..., Any]) -> None:
    both = [up(MESH, "--for", "3s") for _ in range(2)]
    for report in [each.report(120) for each in both]:
        assert report["code"] == 0, report["progress"]
        [load] = report["load"]
        assert load["requests"] > 0
        assert load["reported"] == load["requests"], "each is asked by its own load alone"
