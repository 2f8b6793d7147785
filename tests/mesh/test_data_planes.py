"""Other data planes in one mesh with ours: real Envoy as sidecar and gateway, and gRPC's own library without a proxy."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from mainstay import examples
from mainstay.identity import certificates
from mainstay.identity.authority import open_authority
from mainstay.identity.signer import LeafRequest
from mainstay.sidecar.agent.files import CHAIN, KEY, ROOTS_FILE, CertificateFiles, Leaf
from mainstay.up.plane import ControlPlane, ask

pytestmark = [
    pytest.mark.mesh,
    pytest.mark.envoy,
    pytest.mark.xdist_group("mesh"),
    pytest.mark.timeout(300),
]

SHOP = Path(examples.__file__).parent / "shop"
HERE = Path(__file__).parent / "applications"
INSIDE = {
    ("edge", "front"): "http",
    ("front", "catalogue"): "http",
    ("front", "reviews"): "http",
    ("front", "prices"): "grpc",
    ("front", "ledger"): "tcp",
    ("prices", "rates"): "grpc",
}

MESH = f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: planes}}
spec:
  namespace: shop
  settings: {{mtls: STRICT}}
  services:
  - {{name: web, ports: [{{name: http, number: 8000, protocol: http}}]}}
  workloads:
  - {{name: web-ours, service: web, command: [$PYTHON, {SHOP}/catalogue.py], probe: {{path: /healthz}}}}
  - {{name: web-envoy, service: web, command: [$PYTHON, {SHOP}/catalogue.py], probe: {{path: /healthz}}, proxy: envoy}}
  gateways:
  - {{name: edge}}
  config:
  - apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {{name: web}}
    spec:
      hosts: ["*"]
      gateways: [edge]
      http:
      - route: [{{destination: {{host: web, port: {{number: 8000}}}}}}]
        retries: {{attempts: 3, retryOn: "connect-failure,refused-stream,reset,503"}}
  load:
  - {{to: edge, path: /items, rate: 100, connections: 8}}
"""


@pytest.fixture(scope="module")
def envoy_flags() -> tuple[str, str]:
    found = os.environ.get("MAINSTAY_TEST_ENVOY", "")
    assert found, "run the tests with `make test`, which installs Envoy"
    return "--proxy-path", found


def test_the_shop_runs_on_mixed_data_planes(up: Callable[..., Any], envoy_flags: tuple[str, str]) -> None:
    mesh = up("shop-mixed", *envoy_flags, "--for", "10s")
    mesh.wait_for("requests/s to")
    _tell_status(mesh)
    _tell_configuration(mesh)
    _rotate(mesh)
    report = mesh.report(200)
    assert report["unmet"] == [], report["progress"]
    assert report["code"] == 0
    assert not [event for event in report["events"] if event["what"] in ("warning", "crashed")]

    pairs = {(pair["source"], pair["destination"]): pair for pair in report["pairs"]}
    assert {key: pair["protocol"] for key, pair in pairs.items()} == INSIDE
    assert all(pair["failures"] == 0 and pair["mtls"] is True for pair in pairs.values())
    assert all(pair["requests"] > 0 for pair in pairs.values())
    [load] = report["load"]
    assert load["reported"] == load["requests"] > 0, "Envoy's figures and the load generator's own agree"


def _tell_status(mesh: Any) -> None:
    """`mainstay status` knows each proxy, whatever it is, and the health of its workload."""
    proxies: dict[tuple[str, str], Any] = {}

    def all_healthy() -> bool:
        answer = json.loads(run(mesh, "status", "-o", "json"))
        proxies.update({(each["node"].split("~")[2], each["software"]): each for each in answer["proxies"]})
        return all(each["workload"]["health"] == "healthy" for each in proxies.values() if each["workload"])

    mesh.until(all_healthy, "every workload is healthy")
    for name, software in (
        ("edge.shop", "envoy"),
        ("front-envoy.shop", "envoy"),
        ("front-envoy.shop", "agent"),
        ("prices-1.shop", "grpc"),
        ("prices-1.shop", "agent"),
        ("front.shop", "mainstay"),
    ):
        proxy = proxies[name, software]
        assert not any(state["refused"] for state in proxy["types"].values()), proxy
    assert ("edge.shop", "agent") not in proxies, "a gateway has no workload to speak for"


def _tell_configuration(mesh: Any) -> None:
    """`proxy-config NAME` means the proxy, not its agent."""
    clusters = run(mesh, "proxy-config", "front-envoy", "clusters")
    assert "outbound|9000||prices.shop.svc.cluster.local" in clusters
    listeners = run(mesh, "proxy-config", "prices-1", "listeners")
    assert "rates.shop.svc.cluster.local:9000" in listeners
    assert "for clients inside the application" in listeners


def _rotate(mesh: Any) -> None:
    """New leaves, put in place as the agents do it, are shown by Envoy and by gRPC's library while the load goes on."""
    authority = open_authority(
        mesh.state / "control-plane" / "ca", "cluster.local", lambda: time.time_ns() // 1_000_000
    )
    roots = "".join(authority.bundle().roots)

    def sign(account: str) -> Leaf:
        key = certificates.make_key()
        chain = authority.sign(LeafRequest(f"spiffe://cluster.local/ns/shop/sa/{account}", key.public_key()))
        return Leaf(chain.pem, certificates.pem_of_key(key).decode(), roots)

    client = CertificateFiles(mesh.state / "test")
    client.publish(sign("edge"))
    context = ssl.create_default_context(cafile=str(client.path(ROOTS_FILE)))
    context.check_hostname = False
    context.load_cert_chain(client.path(CHAIN), client.path(KEY))
    context.set_alpn_protocols(["h2"])
    for name, account in (("front-envoy", "front-envoy"), ("prices-1", "prices")):
        port = 8_000 if account == "front-envoy" else 9_000
        place = (mesh.environment(name)["HOST"], port)
        new = sign(account)
        CertificateFiles(mesh.state / "proxies" / name).publish(new)
        serial = x509.load_pem_x509_certificate(new.chain.encode()).serial_number
        mesh.until(partial(_shows, place, context, serial), f"{name} shows its new leaf")


def _shows(place: tuple[str, int], context: ssl.SSLContext, serial: int) -> bool:
    with socket.create_connection(place, 5) as raw, context.wrap_socket(raw) as secured:
        der = secured.getpeercert(binary_form=True)
    return der is not None and x509.load_der_x509_certificate(der).serial_number == serial


def run(mesh: Any, *arguments: str) -> str:
    done = mesh.run(*arguments)
    assert done.returncode == 0, done.stderr
    told: str = done.stdout
    return told


GREETERS = f"""
apiVersion: mainstay.dev/v1alpha1
kind: Mesh
metadata: {{name: greeters}}
spec:
  namespace: shop
  settings: {{mtls: MODE}}
  services:
  - {{name: greeter, ports: [{{name: grpc, number: 9000, protocol: grpc}}]}}
  workloads:
  - {{name: ours, service: greeter, command: [$PYTHON, {HERE}/greeter.py]}}
  - {{name: envoys, service: greeter, command: [$PYTHON, {HERE}/greeter.py], proxy: envoy}}
  - {{name: librarys, service: greeter, command: [$PYTHON, {HERE}/greeter.py], proxy: grpc}}
  - {{name: caller, command: [$PYTHON, {HERE}/caller.py], calls: [greeter], proxy: grpc, env: {{INSTANCES: "3"}}}}
  config:
  - apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {{name: greeter}}
    spec:
      selector: {{matchLabels: {{app: greeter}}}}
      rules:
      - from: [{{source: {{principals: [cluster.local/ns/shop/sa/caller]}}}}]
        to: [{{operation: {{paths: [/test.Greeter/Who]}}}}]
"""


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE"])
def test_a_library_calls_all_data_planes_by_mutual_tls_and_all_of_them_judge_alike(
    up: Callable[..., Any], envoy_flags: tuple[str, str], mode: str
) -> None:
    mesh = up(GREETERS.replace("MODE", mode), *envoy_flags)
    found: dict[str, list[str]] = {}

    def has_told() -> bool:
        lines = (mesh.state / "logs" / "caller.log").read_text().splitlines()
        for line in lines:
            if line.startswith("{"):
                found.update(json.loads(line))
        return "denied" in found

    mesh.until(has_told, "the caller has called everybody")
    caller = "spiffe://cluster.local/ns/shop/sa/caller"
    # Behind a sidecar the application sees no certificate.
    assert found["steady"] == ["envoys ", f"librarys {caller}", "ours "]
    assert found["denied"] == ["PERMISSION_DENIED"]
    mesh.end()


class Watched:
    """A mesh under load in which one of two instances stands behind Envoy."""

    def __init__(self, mesh: Any) -> None:
        self.mesh = mesh
        mesh.wait_for("requests/s to")
        self.address = mesh.environment("web-envoy")["HOST"]

    def proxy(self) -> dict[str, Any]:
        """What the agent says of its Envoy."""
        status, text = ask(self.address, 15_000, "GET", "/mainstay/status")
        assert status == 200
        found: dict[str, Any] = json.loads(text)["proxy"]
        return found

    def in_rotation(self) -> bool:
        return self.address in self.mesh.endpoints("edge", "web")

    def settle(self) -> None:
        self.mesh.until(lambda: self.proxy()["state"] == "ready" and self.in_rotation(), "Envoy serves")
        self.mesh.carry(100)


@pytest.fixture(scope="module")
def watched(up: Callable[..., Any], envoy_flags: tuple[str, str]) -> Iterator[Watched]:
    made = Watched(up(MESH, *envoy_flags))
    yield made
    made.mesh.end()


def test_an_envoy_that_crashes_is_started_again(watched: Watched) -> None:
    watched.settle()
    before = watched.proxy()
    os.kill(before["pid"], signal.SIGSEGV)
    watched.mesh.until(lambda: watched.proxy()["starts"] == before["starts"] + 1, "Envoy was started again")
    watched.settle()
    after = watched.proxy()
    assert after["pid"] != before["pid"]
    assert after["version"].count(".") == 2


def test_an_agent_that_is_asked_to_end_sees_its_clients_off(watched: Watched) -> None:
    watched.settle()
    failed = watched.mesh.count().failed
    pid = watched.proxy()["pid"]
    os.kill(watched.mesh.sidecar("web-envoy"), signal.SIGTERM)
    watched.mesh.until(lambda: not watched.in_rotation(), "peers go elsewhere")
    watched.mesh.until(lambda: not Path(f"/proc/{pid}").exists(), "Envoy has ended")
    watched.mesh.wait_for("web-envoy-proxy: started again")
    watched.settle()
    assert watched.mesh.count().failed == failed


def test_restarting_every_workload_in_turn_costs_nothing(watched: Watched) -> None:
    watched.settle()
    failed = watched.mesh.count().failed
    watched.mesh.signal(signal.SIGHUP)
    watched.mesh.wait_for("every workload has been restarted")
    watched.settle()
    assert watched.mesh.count().failed == failed


def test_no_envoy_outlives_its_agent(watched: Watched) -> None:
    watched.settle()
    pid = watched.proxy()["pid"]
    os.kill(watched.mesh.sidecar("web-envoy"), signal.SIGKILL)
    watched.mesh.until(lambda: not Path(f"/proc/{pid}").exists(), "Envoy has ended")
    watched.settle()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        assert watched.proxy()["pid"] != pid


def test_its_key_is_in_files_of_its_owner_alone_and_nowhere_else(watched: Watched) -> None:
    data = watched.mesh.state / "proxies" / "web-envoy"
    assert data.stat().st_mode & 0o777 == 0o700
    keys = [path for path in data.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert keys
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys)
    api = ControlPlane.from_context(watched.mesh.state / "context.json")
    assert [node for node in api.nodes() if "web-envoy" in node]
    for path in (watched.mesh.state / "control-plane").rglob("*"):
        if path.is_file() and path.parent.name != "ca":
            assert keys[0].read_bytes() not in path.read_bytes()
