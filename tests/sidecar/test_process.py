"""The real process over the real engine: `mainstay sidecar --bootstrap FILE`, requests, signals, idle memory."""

from __future__ import annotations

import datetime
import http.client
import http.server
import json
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mainstay import _engine
from waiting import until

pytestmark = pytest.mark.skipif(
    not hasattr(_engine, "Engine"), reason="the engine is built without its border; `make build` has it"
)
PATIENCE_S = 20
IDLE_OWN_MIB = 19
"""28 MiB in all, of which a release build has about nine mapped from files."""

BOOTSTRAP = """
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
static_resources:
  listeners:
  - name: front
    traffic_direction: INBOUND
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /direct}}
                direct_response: {{status: 200, body: {{inline_string: hello}}}}
              - match: {{prefix: /}}
                route: {{cluster: application}}
          http_filters:
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: application
    type: STATIC
    load_assignment:
      cluster_name: application
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def application() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


class Process:
    """A running sidecar; `addresses` by listener."""

    def __init__(self, process: subprocess.Popen[bytes], ready: Path) -> None:
        self.process = process
        self.ready = ready
        self.addresses: dict[str, str] = json.loads(ready.read_bytes())["listeners"]

    def get(self, path: str, listener: str = "front") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.addresses[listener], timeout=PATIENCE_S)
        try:
            connection.request("GET", path, headers={"host": "localhost"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def own_memory_mib(self) -> float:
        """Without what is mapped from files: a debug build of the engine is large there."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (kib,) = [line.split()[1] for line in lines if line.startswith("RssAnon")]
        return int(kib) / 1024


@contextmanager
def running(tmp_path: Path, *flags: str, program: tuple[str, ...] = ("-m", "mainstay")) -> Iterator[Process]:
    ready = tmp_path / "ready"
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [
            *(sys.executable, *program, "sidecar", "--ready-file", str(ready)),
            *("--health-port", "0", "--metrics-port", "0", "--admin-port", "0", *flags),
        ],
        stderr=log,
    )
    try:
        wait_for(ready.exists, process, tmp_path / "log")
        yield Process(process, ready)
    finally:
        process.kill()
        process.wait()
        log.close()


def wait_for(holds: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    until(lambda: holds() or process.poll() is not None, log.read_text, PATIENCE_S)
    assert process.poll() is None, log.read_text()


def bootstrap(tmp_path: Path, port: int) -> str:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(BOOTSTRAP.format(port=port))
    return str(path)


def test_requests_flow_through_a_static_bootstrap(tmp_path: Path, application: int) -> None:
    with running(tmp_path, "--bootstrap", bootstrap(tmp_path, application)) as sidecar:
        assert sidecar.get("/direct") == (200, b"hello")
        assert sidecar.get("/through") == (200, b"/through")


def test_pages_of_the_engine_and_of_the_brain_are_at_one_place(tmp_path: Path, application: int) -> None:
    with running(tmp_path, "--bootstrap", bootstrap(tmp_path, application)) as sidecar:
        assert sidecar.get("/ready", "admin")[0] == 200
        assert sidecar.get("/healthz/ready", "health")[0] == 200
        assert b"# TYPE" in sidecar.get("/stats/prometheus", "metrics")[1]
        status = json.loads(sidecar.get("/mainstay/status", "admin")[1])
        assert status["state"] == "ready"
        assert status["resources"] == {"cluster": 1, "listener": 1}


def test_it_ends_in_order_when_told_to(tmp_path: Path, application: int) -> None:
    flags = ("--bootstrap", bootstrap(tmp_path, application), "--drain-min", "200ms")
    with running(tmp_path, *flags) as sidecar:
        sidecar.process.send_signal(signal.SIGTERM)
        assert sidecar.process.wait(PATIENCE_S) == 0
        assert not sidecar.ready.exists()


MORTAL = """
import os, sys
from mainstay.sidecar import main
from mainstay.sidecar.brain import Brain
turn = Brain.turn
def die_if_told(brain):
    turn(brain)
    if os.path.exists(sys.argv[1]):
        raise RuntimeError("a bug")
Brain.turn = die_if_told
sys.exit(main.main(sys.argv[2:]))
"""


def test_a_brain_that_keeps_dying_takes_neither_traffic_nor_the_end_with_it(
    tmp_path: Path, application: int
) -> None:
    sign = tmp_path / "die"
    flags = ("--bootstrap", bootstrap(tmp_path, application), "--drain-min", "200ms")
    with running(tmp_path, *flags, program=("-c", MORTAL, str(sign))) as sidecar:
        sign.touch()
        sidecar.get("/mainstay/status", "admin")
        wait_for(lambda: "deaths=3" in (tmp_path / "log").read_text(), sidecar.process, tmp_path / "log")
        assert sidecar.get("/through") == (200, b"/through")
        sidecar.process.send_signal(signal.SIGTERM)
        assert sidecar.process.wait(PATIENCE_S) == 0
        assert not sidecar.ready.exists()


def test_it_is_small_when_idle(tmp_path: Path, application: int) -> None:
    with running(tmp_path, "--bootstrap", bootstrap(tmp_path, application)) as sidecar:
        sidecar.get("/through")
        assert sidecar.own_memory_mib() < IDLE_OWN_MIB


SECURE = """
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {filename: leaf.pem}
              private_key: {filename: leaf.key}
      filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: members}}]}]
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: members
    type: EDS
    eds_cluster_config: {eds_config: {path_config_source: {path: members.yaml}}}
"""
MEMBERS = """
resources:
- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: members
  endpoints:
  - lb_endpoints:
    - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""


def write_leaf(folder: Path, name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form, clear = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "leaf.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, clear))
    (folder / "leaf.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def shown_leaf(address: str) -> str:
    """Whose certificate a new connection is shown."""
    host, _, port = address.rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)), timeout=PATIENCE_S)
    found = x509.load_pem_x509_certificate(pem.encode())
    return str(found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_files_are_followed_and_connections_stay(tmp_path: Path, application: int) -> None:
    (tmp_path / "bootstrap.yaml").write_text(SECURE)
    (tmp_path / "members.yaml").write_text(MEMBERS.format(port=1))
    write_leaf(tmp_path, "first.example")
    with running(tmp_path, "--bootstrap", str(tmp_path / "bootstrap.yaml")) as sidecar:
        address = sidecar.addresses["front"]
        host, _, port = address.rpartition(":")
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, int(port), timeout=PATIENCE_S, context=trusting)

        def status() -> int:
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            return response.status

        assert status() == 503
        socket = connection.sock
        (tmp_path / "members.yaml").write_text(MEMBERS.format(port=application))
        wait_for(lambda: status() == 200, sidecar.process, tmp_path / "log")
        assert shown_leaf(address) == "first.example"
        write_leaf(tmp_path, "second.example")
        wait_for(lambda: shown_leaf(address) == "second.example", sidecar.process, tmp_path / "log")
        assert status() == 200
        assert connection.sock is socket
        connection.close()
