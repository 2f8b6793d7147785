"""Proxies as subjects: an Envoy v3 bootstrap that takes everything from the tester, and the applications behind them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .resources import Maker
from .steps import Streams, Variant

XDS = "xds_cluster"
NODE = "rules"


def _api(variant: Variant, node_always: bool) -> dict[str, Any]:
    return {
        "api_type": "GRPC" if variant == "sotw" else "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": XDS}}],
        "set_node_on_first_message_only": not node_always,
    }


def source(variant: Variant, streams: Streams, *, node_always: bool = False) -> dict[str, Any]:
    """Where everything comes from. `node_always`: its server does not remember the node."""
    where = {"ads": {}} if streams == "ads" else {"api_config_source": _api(variant, node_always)}
    return {**where, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def bootstrap(variant: Variant, streams: Streams, port: int, *, node_always: bool = False) -> dict[str, Any]:
    """`port`: the tester's."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    everything = source(variant, streams, node_always=node_always)
    dynamic = {"cds_config": everything, "lds_config": everything}
    if streams == "ads":
        dynamic["ads_config"] = _api(variant, node_always)
    return {
        "node": {"id": NODE, "cluster": "rules"},
        "dynamic_resources": dynamic,
        "static_resources": {
            "clusters": [
                {
                    "name": XDS,
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
                    },
                    "load_assignment": {
                        "cluster_name": XDS,
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                }
            ]
        },
    }


class Applications:
    """`a` and `b`: each answers with its name."""

    def __init__(self) -> None:
        self._servers = {name: _serve(name) for name in ("a", "b")}
        self.ports = {name: int(server.server_port) for name, server in self._servers.items()}

    def stop(self) -> None:
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    def maker(self, variant: Variant, streams: Streams, listener: int, *, node_always: bool = False) -> Maker:
        return Maker(source(variant, streams, node_always=node_always), {"l": listener}, self.ports)


def _serve(name: str) -> ThreadingHTTPServer:
    class Application(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "1")
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@contextlib.contextmanager
def applications() -> Iterator[Applications]:
    found = Applications()
    try:
        yield found
    finally:
        found.stop()
