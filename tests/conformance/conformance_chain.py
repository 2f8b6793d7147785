"""Proxies in a row, for suites with a client and a server of their own: one listener and one cluster a bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from conformance_bootstrap import TYPE, address, http_options, manager
from conformance_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

NEXT = {"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "0s"}}
BODY = "here, and long enough for windows of a few bytes"
SPOKEN = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": BODY}}}
_BUFFER = {
    "name": "envoy.filters.http.buffer",
    "typed_config": {"@type": TYPE + "filters.http.buffer.v3.Buffer", "max_request_bytes": 1 << 20},
}


@dataclass(frozen=True)
class Link:
    """What one proxy of the row does. `down` and `up` are Envoy's CommonTlsContext; `http2` goes out, or HTTP/1."""

    route: dict[str, Any]
    down: dict[str, Any] | None = None
    up: dict[str, Any] | None = None
    mutual: bool = False
    codec: str = "HTTP2"
    http2: bool = True
    waits: bool = False
    """Answers once the request is whole; for Envoy alone, since it takes a filter that Mainstay has not."""


def write(file: Path, link: Link, port: int, admin: int, upstream: int | None) -> Path:
    table = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [link.route]}]}
    filters = [_BUFFER] if link.waits else []
    chain: dict[str, Any] = {"filters": [manager("front", table, {"codec_type": link.codec}, filters)]}
    if link.down is not None:
        chain["transport_socket"] = _tls(
            "DownstreamTlsContext", link.down, {"require_client_certificate": link.mutual}
        )
    clusters = []
    if upstream is not None:
        protocol = "http2_protocol_options" if link.http2 else "http_protocol_options"
        cluster: dict[str, Any] = {
            "name": "next",
            "type": "STATIC",
            "connect_timeout": "2s",
            "typed_extension_protocol_options": http_options({"explicit_http_config": {protocol: {}}}),
            "load_assignment": {
                "cluster_name": "next",
                "endpoints": [{"lb_endpoints": [{"endpoint": address(upstream)}]}],
            },
        }
        if link.up is not None:
            cluster["transport_socket"] = _tls("UpstreamTlsContext", link.up, {"sni": "server.test"})
        clusters.append(cluster)
    listener = {"name": "front", **address(port), "filter_chains": [chain]}
    document = {
        "node": {"id": "conformance", "cluster": "conformance"},
        "admin": address(admin),
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def _tls(message: str, common: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    config = {"@type": f"{TYPE}transport_sockets.tls.v3.{message}", "common_tls_context": common, **more}
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def common_tls(certificates: Path, name: str, *, verify: bool) -> dict[str, Any]:
    """What both sides of TLS say: a certificate, HTTP/2 and, with `verify`, whom to trust."""
    made: dict[str, Any] = {
        "alpn_protocols": ["h2"],
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(certificates / f"{name}.pem")},
                "private_key": {"filename": str(certificates / f"{name}-key.pem")},
            }
        ],
    }
    if verify:
        made["validation_context"] = {"trusted_ca": {"filename": str(certificates / "roots.pem")}}
    return made


class Row:
    """Running proxies; the first is the client's."""

    def __init__(self, envoy: str, folder: Path, port: Callable[[], int]) -> None:
        self._envoy = envoy
        self._folder = folder
        self._port = port
        self._running: list[Proxy] = []

    def start(self, kind: str, link: Link, upstream: int | None) -> int:
        """One more in front of `upstream`; returns its port."""
        port, admin = self._port(), self._port()
        file = write(self._folder / f"{len(self._running)}-{kind}.yaml", link, port, admin, upstream)
        self._running.append(Proxy(kind, self._envoy, file, admin))
        return port

    def stop(self) -> None:
        for proxy in self._running:
            proxy.stop()
