"""What the shop's HTTP services share: a keep-alive server on $HOST:$PORT and calls to services by their $NAME_ADDR.

Standard library only, and nothing of the mesh: these are ordinary applications.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = os.environ.get("VERSION", "v1")
TIMEOUT_S = 5.0
_local = threading.local()


def address_of(service: str) -> tuple[str, int]:
    """Where to call a service: the mesh hands it over as an environment variable."""
    host, _, port = os.environ[f"{service.upper().replace('-', '_')}_ADDR"].rpartition(":")
    return host, int(port)


def fetch(service: str, path: str) -> Any:
    """GETs JSON from a service over this thread's kept connection; raises OSError if it cannot."""
    connections: dict[str, http.client.HTTPConnection] = _local.__dict__.setdefault("connections", {})
    connection = connections.get(service)
    reused = connection is not None and connection.sock is not None
    if connection is None:
        connection = connections[service] = http.client.HTTPConnection(
            *address_of(service), timeout=TIMEOUT_S
        )
    try:
        return _ask(connection, service, path)
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        connection.close()
        if not reused:
            raise
        # An idle connection may be closed by the other side at any time: a GET is safe to send again.
        return _ask(connection, service, path)


def _ask(connection: http.client.HTTPConnection, service: str, path: str) -> Any:
    connection.request("GET", path, headers={"host": service})
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise OSError(f"{service}{path} answered {response.status}")
    return json.loads(body)


def serve(answer: Callable[[str], Any]) -> None:
    """Serves `answer(path)` as JSON until SIGTERM, then finishes what is under way."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body leave in one segment.
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            try:
                status, value = 200, answer(self.path)
            except (OSError, http.client.HTTPException) as error:
                status, value = 502, {"error": str(error)}
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:
            """The mesh writes the access log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)
