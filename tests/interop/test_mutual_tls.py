"""Mutual TLS between Envoy and Mainstay, each way, both started from the same bootstrap files."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ports import free_port

pytestmark = pytest.mark.envoy

TYPE = "type.googleapis.com/envoy.extensions."
PAIRS = [("mainstay", "envoy"), ("envoy", "mainstay"), ("mainstay", "mainstay")]
SERVER = "spiffe://cluster.local/ns/shop/sa/server"
CLIENT = "spiffe://cluster.local/ns/shop/sa/client"


def common_tls(leaf: tuple[Path, Path], roots: Path, peers: list[str], alpn: list[str]) -> dict[str, Any]:
    chain, key = leaf
    names = [{"san_type": "URI", "matcher": {"exact": peer}} for peer in peers]
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": alpn,
        "tls_certificates": [
            {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(roots)},
            "match_typed_subject_alt_names": names,
        },
    }


def write_bootstrap(
    path: Path, port: int, upstream: int, http2: bool, down: dict[str, Any] | None, up: dict[str, Any] | None
) -> Path:
    """One listener, one cluster, TLS on either side as given."""
    manager: dict[str, Any] = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "codec_type": "AUTO",
        "forward_client_cert_details": "SANITIZE_SET" if down else "SANITIZE",
        "set_current_client_cert_details": {"uri": True},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "name": "all",
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "next"}}],
                }
            ],
        },
    }
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    }
    if down is not None:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": True,
                "common_tls_context": down,
            },
        }
    cluster: dict[str, Any] = {
        "name": "next",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": "next", "endpoints": [{"lb_endpoints": [endpoint(upstream)]}]},
    }
    if http2:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": TYPE + "upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    if up is not None:
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": TYPE + "transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": up,
            },
        }
    listener = {"name": "front", **endpoint(port)["endpoint"], "filter_chains": [chain]}
    path.write_text(yaml.safe_dump({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    return path


def endpoint(port: int) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}


class Pair:
    """Client's proxy and server's proxy with mutual TLS between them."""

    def __init__(
        self, start: Callable[[str, Path, int], None], certificates: Any, folder: Path, application: int
    ) -> None:
        self._start = start
        self._certificates = certificates
        self._folder = folder
        self._application = application

    def open(self, client: str, server: str, *, http2: bool = True, expected: str = SERVER) -> int:
        """Starts both; returns the port of the client's proxy. `expected`: whom the client's proxy trusts."""
        made = self._certificates
        alpn = ["h2"] if http2 else ["http/1.1"]
        front, middle = free_port(), free_port()
        down = common_tls(made.leaf("server"), made.roots, [CLIENT], alpn)
        up = common_tls(made.leaf("client"), made.roots, [expected], alpn)
        behind = write_bootstrap(self._folder / "server.yaml", middle, self._application, False, down, None)
        before = write_bootstrap(self._folder / "client.yaml", front, middle, http2, None, up)
        self._start(server, behind, middle)
        self._start(client, before, front)
        self.middle = middle
        return front


@pytest.fixture
def pair(
    start: Callable[[str, Path, int], None], mesh_certificates: Any, tmp_path: Path, application: int
) -> Pair:
    return Pair(start, mesh_certificates, tmp_path, application)


def get(port: int) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/hello", headers={"x-forwarded-client-cert": "URI=spiffe://forged"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("http2", [True, False], ids=["http2", "http1"])
@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_request_crosses_with_the_clients_identity(pair: Pair, client: str, server: str, http2: bool) -> None:
    port = pair.open(client, server, http2=http2)
    status, said = get(port)
    assert status == 200
    assert said.startswith("GET /hello")
    assert f"URI={CLIENT}" in said
    assert "forged" not in said


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_server_of_another_identity_is_refused(pair: Pair, client: str, server: str) -> None:
    port = pair.open(client, server, expected="spiffe://cluster.local/ns/shop/sa/other")
    assert get(port)[0] == 503


@pytest.mark.parametrize(("client", "server"), PAIRS[:2])
def test_client_without_a_certificate_is_refused(pair: Pair, client: str, server: str) -> None:
    pair.open(client, server)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        knock(pair.middle)


def knock(port: int) -> None:
    """Speaks TLS without a client certificate; raises what the server does about it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 5) as raw,
        context.wrap_socket(raw) as secured,
    ):
        # TLS 1.3 tells a client without certificate only after the client's part of the handshake.
        secured.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        if not secured.recv(1):
            raise ConnectionError("closed")
