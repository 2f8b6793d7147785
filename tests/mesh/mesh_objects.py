"""Objects that several meshes of these tests consist of, and applications to stand in them."""

from __future__ import annotations

import http.client
import http.server
import threading

PATIENCE_S = 60


def sidecar_of_caller(name: str, egress: dict[int, str]) -> str:
    """A Sidecar whose listeners are bound on loopback, each by its port for a host of the namespace."""
    listeners = "".join(
        f"""
  - port: {{number: {port}, protocol: HTTP, name: http-{port}}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ["./{host}"]"""
        for port, host in egress.items()
    )
    return f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {name}, namespace: shop}}
spec:
  workloadSelector: {{labels: {{app: {name}}}}}
  egress:{listeners}
"""


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Application

    def do_GET(self) -> None:
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        ok = self.path != "/healthz" or self.server.is_well
        body = str(self.server.server_port).encode()
        self.send_response(200 if ok else 503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Application(http.server.ThreadingHTTPServer):
    """Answers with its port; `is_well` is what its probe finds."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.is_well = True
        self.seen: list[dict[str, str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


def ask(port: int, path: str = "/", headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
