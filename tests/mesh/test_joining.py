"""Workloads that join with a group's token, traffic that mutual TLS takes over, and hosts outside the mesh."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from typing import Any

import pytest
from mesh_objects import PATIENCE_S, Application, ask, sidecar_of_caller

from ports import free_port

pytestmark = [pytest.mark.mesh, pytest.mark.xdist_group("mesh")]
GRACE_S = 2

SERVICE = """
apiVersion: mainstay.dev/v1alpha1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{number: 80, name: http}], selector: {app: cart}}
"""
GROUP = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: carts, namespace: shop}}
spec:
  metadata: {{labels: {{app: cart}}}}
  template: {{serviceAccount: cart, ports: {{http: {inbound}}}}}
  probe: {{httpGet: {{path: /healthz, port: {application}}}, periodSeconds: 1}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: carts, namespace: shop}}
spec:
  workloadSelector: {{labels: {{app: cart}}}}
  ingress:
  - port: {{number: {inbound}, protocol: HTTP, name: http}}
    bind: 127.0.0.1
    captureMode: NONE
    defaultEndpoint: 127.0.0.1:{application}
  egress: [{{hosts: ["~/*"]}}]
"""
CART, RATES = "cart.shop.svc.cluster.local", "rates.example"


def cart_and_front(inbound: int, application: Application, client: int) -> str:
    """A service whose instances join by a group, and who calls it at `client`."""
    group = GROUP.format(inbound=inbound, application=application.server_port)
    return "---".join((SERVICE, group, sidecar_of_caller("front", {client: CART})))


def test_member_of_a_group_serves_from_its_probe_to_its_grace(
    operator: Any, applications: list[Application]
) -> None:
    application, _ = applications
    application.is_well = False
    inbound, client = free_port(), free_port()
    xds = operator.start_control_plane("--xds-grace", f"{GRACE_S}s")
    operator.apply(cart_and_front(inbound, application, client))
    operator.start_proxy("sidecar", "front-1", "front", xds, "--labels", "app=front")
    operator.start_proxy("sidecar", "cart-1", "cart", xds, "--labels", "app=cart", group="carts")
    assert ask(client)[0] == 503

    application.is_well = True
    operator.wait(lambda: ask(client) == (200, str(application.server_port)))
    application.is_well = False
    operator.wait(lambda: ask(client)[0] == 503)
    application.is_well = True
    operator.wait(lambda: ask(client)[0] == 200)

    # A sidecar that dies leaves after the grace, not before.
    began = time.monotonic()
    operator.stop("cart-1", signal.SIGKILL)
    operator.wait(lambda: f": {inbound}" not in endpoints_of(operator, "front-1"))
    assert time.monotonic() - began >= GRACE_S


def test_member_whose_port_is_taken_serves_once_it_is_free(
    operator: Any, applications: list[Application]
) -> None:
    application, _ = applications
    inbound, client = free_port(), free_port()
    xds = operator.start_control_plane()
    operator.apply(cart_and_front(inbound, application, client))
    operator.start_proxy("sidecar", "front-1", "front", xds, "--labels", "app=front")
    with socket.create_server(("127.0.0.1", inbound)):
        operator.launch_proxy("sidecar", "cart-1", "cart", xds, "--labels", "app=cart", group="carts")
        operator.wait(lambda: "cannot be bound: Address already in use" in operator.run("status"))
        operator.wait(lambda: proxy_of(operator, "cart-1")["workload"]["health"] == "unhealthy")
        assert not (operator.folder / "cart-1.ready").exists()
        assert ask(client)[0] == 503
    operator.await_ready("cart-1")
    operator.wait(lambda: ask(client) == (200, str(application.server_port)))
    operator.wait(lambda: "cannot be bound" not in operator.run("status"))


def proxy_of(operator: Any, name: str) -> dict[str, Any]:
    proxies = json.loads(operator.run("status", "-o", "json"))["proxies"]
    return next(each for each in proxies if name in each["node"])


def endpoints_of(operator: Any, name: str) -> str:
    node = proxy_of(operator, name)["node"]
    return str(operator.run("proxy-config", node, "endpoints", "-o", "json"))


MIXED = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: plain, namespace: shop}}
spec: {{address: 127.0.0.1, labels: {{app: cart}}, ports: {{http: {plain}}}}}
"""
OUTSIDE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: rates, namespace: shop}}
spec:
  hosts: [rates.example]
  ports: [{{number: 80, protocol: HTTP, name: http}}]
  location: MESH_EXTERNAL
  resolution: DNS
  endpoints: [{{address: localhost, ports: {{http: {outside}}}}}]
"""
MTLS = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: shop}}
spec: {{mtls: {{mode: {mode}}}}}
"""


class Callers:
    """Asks again and again, in threads; keeps every answer that is not 200."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_over = threading.Event()
        self.failures: list[Any] = []
        self.count = 0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(3)]
        for each in self._threads:
            each.start()

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                status, body = ask(self._port)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
                continue
            self.count += 1
            if status != 200:
                self.failures.append((status, body))

    def end(self) -> None:
        self._is_over.set()
        for each in self._threads:
            each.join(PATIENCE_S)


def test_strict_takes_over_while_traffic_flows_to_meshed_endpoints_and_to_others(
    operator: Any, applications: list[Application]
) -> None:
    meshed, plain = applications
    inbound, client, egress = (free_port() for _ in range(3))
    xds = operator.start_control_plane()
    operator.apply(
        "---".join(
            (
                SERVICE,
                MTLS.format(mode="PERMISSIVE"),
                GROUP.format(inbound=inbound, application=meshed.server_port),
                MIXED.format(plain=plain.server_port),
                OUTSIDE.format(outside=plain.server_port),
                sidecar_of_caller("front", {client: CART, egress: RATES}),
            )
        )
    )
    operator.start_proxy("sidecar", "front-1", "front", xds, "--labels", "app=front")
    operator.start_proxy("sidecar", "cart-1", "cart", xds, "--labels", "app=cart", group="carts")
    both = {str(meshed.server_port), str(plain.server_port)}
    operator.wait(lambda: {ask(client)[1] for _ in range(8)} == both)
    assert ask(inbound) == (200, str(meshed.server_port)), "permissive: plain text is taken"

    callers = Callers(client)
    operator.apply(MTLS.format(mode="STRICT"))
    operator.wait(lambda: is_refused(inbound))
    count = callers.count
    operator.wait(lambda: callers.count > count + 100)
    callers.end()
    assert callers.failures == []
    assert {ask(client)[1] for _ in range(8)} == both
    from_mesh = [each for each in meshed.seen if "x-forwarded-client-cert" in each]
    assert "sa/front" in str(from_mesh[-1])

    # A host outside the mesh, found by its name and called in plain text.
    operator.wait(lambda: ask(egress, "/rates") == (200, str(plain.server_port)))
    assert plain.seen[-1]["host"] == "rates.example"


def is_refused(port: int) -> bool:
    try:
        return ask(port)[0] != 200
    except (OSError, http.client.HTTPException):
        return True
