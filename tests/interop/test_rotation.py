"""Certificates as an agent keeps them for Envoy are exchanged under load: no request fails, new connections show the new leaf."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from mainstay._proto import pool
from mainstay.compile.tls import mesh_downstream
from mainstay.sidecar.agent.files import CertificateFiles, Leaf
from ports import free_port
from waiting import until

pytestmark = pytest.mark.envoy

ROTATIONS = 4
PATIENCE_S = 20.0


def leaf(certificates: Any, account: str) -> Leaf:
    chain, key = certificates.leaf(account)
    return Leaf(chain.read_text(), key.read_text(), certificates.roots.read_text())


def bootstrap(port: int) -> dict[str, Any]:
    """A listener with the mesh's own inbound TLS, as the control plane sends it to an Envoy beside an agent."""
    fields = mesh_downstream("cluster.local", http=True, mesh_alpns=False, secrets="files")
    message = pool.message_class("envoy.config.core.v3.TransportSocket")(**fields)
    answer = {"status": 200, "body": {"inline_string": "well"}}
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": answer}],
    }
    kind = "type.googleapis.com/envoy.extensions.filters."
    router = {"name": "router", "typed_config": {"@type": kind + "http.router.v3.Router"}}
    manager = {
        "@type": kind + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [router],
    }
    chain = {
        "filters": [{"name": "http", "typed_config": manager}],
        "transport_socket": pool.to_json(message),
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    listener = {"name": "in", "address": address, "filter_chains": [chain]}
    return {
        "node": {"id": "sidecar~127.0.0.1~server.shop~x", "cluster": "server"},
        "static_resources": {"listeners": [listener]},
    }


@pytest.fixture
def envoy_with_files(
    envoy: str, tmp_path: Path, mesh_certificates: Any
) -> Iterator[tuple[CertificateFiles, int]]:
    folder = tmp_path / "data"
    folder.mkdir()
    files = CertificateFiles(folder)
    files.publish(leaf(mesh_certificates, "server"))
    port = free_port()
    (folder / "bootstrap.json").write_text(json.dumps(bootstrap(port)))
    command = [envoy, "-c", "bootstrap.json", "--disable-hot-restart", "--concurrency", "2", "-l", "warning"]
    with (tmp_path / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=dict(os.environ))
    yield files, port
    process.terminate()
    process.wait(10)


class Client:
    """A peer of the mesh that makes a new connection for each request."""

    def __init__(self, certificates: Any, port: int) -> None:
        chain, key = certificates.leaf("client")
        self._context = ssl.create_default_context(cafile=str(certificates.roots))
        self._context.check_hostname = False
        self._context.load_cert_chain(chain, key)
        self._port = port
        self.serials: list[int] = []

    def ask(self) -> None:
        """One request; raises OSError if it fails."""
        with (
            socket.create_connection(("127.0.0.1", self._port), 5) as raw,
            self._context.wrap_socket(raw) as secured,
        ):
            secured.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"well") and (piece := secured.recv(4096)):
                answer += piece
            der = secured.getpeercert(binary_form=True)
        if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"well") or der is None:
            raise OSError(f"answered {answer[:80]!r}")
        self.serials.append(x509.load_der_x509_certificate(der).serial_number)


def test_a_new_leaf_is_shown_and_no_request_fails(
    envoy_with_files: tuple[CertificateFiles, int], mesh_certificates: Any
) -> None:
    files, port = envoy_with_files
    client = Client(mesh_certificates, port)

    def answers() -> bool:
        try:
            client.ask()
        except OSError:
            return False
        return True

    until(answers, "Envoy serves with the files of an agent")
    failures: list[OSError] = []
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            try:
                client.ask()
            except OSError as error:
                failures.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    for _ in range(ROTATIONS):
        new = leaf(mesh_certificates, "server")
        serial = x509.load_pem_x509_certificate(new.chain.encode()).serial_number
        files.publish(new)
        until(lambda serial=serial: client.serials[-1] == serial, "new connections show the new leaf")  # type: ignore[misc]
    ended.set()
    thread.join()
    assert not failures
    assert len(set(client.serials)) == ROTATIONS + 1
