"""Stands in for `mainstay serve`, `sidecar` and `gateway` in tests of `up`: the same flags, ready files and pages, but no mesh.

Each writes to a journal what it does, in order.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

flags = dict(zip((flag.lstrip("-") for flag in sys.argv[2::2]), sys.argv[3::2], strict=True))
verb = sys.argv[1]
name = flags.get("workload", "control-plane")
journal = Path(os.environ["JOURNAL"])
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())


def note(what: str) -> None:
    with journal.open("a") as file:
        file.write(f"{what} {name}\n")


def tell_ready(text: str) -> None:
    """Replaces the file whole: nobody reads half of it."""
    file = Path(flags["ready-file"])
    file.with_suffix(".new").write_text(text)
    file.with_suffix(".new").replace(file)


class Page(BaseHTTPRequestHandler):
    """Answers `routes[method, path]`, a function of the body."""

    routes: ClassVar[dict[tuple[str, str], Any]] = {}
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        route = self.routes.get((self.command, self.path)) or self.routes.get((self.command, "*"))
        status, text = (404, "") if route is None else route(self.path, body)
        data = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer  # noqa: N815  the standard library's names

    def log_message(self, format: str, *args: object) -> None:
        pass


class Quick(ThreadingHTTPServer):
    daemon_threads = True


def serve_pages(address: str, port: int, routes: dict[tuple[str, str], Any]) -> int:
    server = Quick((address, port), type("Page", (Page,), {"routes": routes}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def run_control_plane() -> None:
    objects: list[dict[str, Any]] = []
    refuse = os.environ.get("REFUSE_APPLY", "")

    def apply(_path: str, body: bytes) -> tuple[int, str]:
        if refuse:
            problem = {"object": "Service/shop/x", "path": "spec", "reason": refuse, "remedy": "Do"}
            return 422, json.dumps({"detail": "nothing was changed", "problems": [problem]})
        for file in json.loads(body)["files"]:
            objects.extend(json.loads(text) for text in file["text"].split("\n---\n"))
        note("applied")
        return 200, json.dumps({"results": []})

    def token(_path: str, body: bytes) -> tuple[int, str]:
        return 200, json.dumps({"token": "token of " + json.loads(body)["account"]})

    def find(path: str, _body: bytes) -> tuple[int, str]:
        _, _, kind, wanted = path.split("/")
        found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == wanted]
        return (200, json.dumps(found[-1]["spec"])) if found else (404, "")

    def status(_path: str, _body: bytes) -> tuple[int, str]:
        words = os.environ.get("REFUSED", "")
        refused = [{"name": "80", "reason": words}] if words else []
        types = {"routes": {"sent": 1, "pending": 0, "refused": refused}}
        return 200, json.dumps({"proxies": [{"node": "sidecar~1~front.shop~x", "types": types}]})

    routes = {
        ("POST", "/v1/apply"): apply,
        ("POST", "/v1/tokens"): token,
        ("GET", "/v1/status"): status,
        ("GET", "*"): find,
    }
    port = serve_pages("127.0.0.1", int(flags["api-port"]), routes)
    context = Path(flags["api-context"])
    context.write_text(json.dumps({"server": f"http://127.0.0.1:{port}", "credential": "c"}))
    tell_ready(json.dumps({"api": port, "xds": port}))


def ask(kind: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{flags['control-plane-address']}/fake/{kind}/{name}") as answer:
        return dict(json.load(answer))


def run_proxy() -> None:
    requests = 0
    fail_each = int(os.environ.get("FAIL_EACH", "0"))
    listening: list[socket.socket] = []
    drained = threading.Event()

    def metrics(_path: str, _body: bytes) -> tuple[int, str]:
        if verb == "sidecar" or not requests:
            return 200, ""
        labels = (
            'reporter="source",source_canonical_service="edge",destination_canonical_service="front",'
            'destination_version="v1",request_protocol="http",response_flags="-",grpc_response_status="",'
            'connection_security_policy="mutual_tls"'
        )
        failed = requests // fail_each if fail_each else 0
        return 200, (
            f'istio_requests_total{{{labels},response_code="200"}} {requests - failed}\n'
            f'istio_requests_total{{{labels},response_code="503"}} {failed}\n'
        )

    def drain(_path: str, _body: bytes) -> tuple[int, str]:
        note("drained")
        drained.set()
        return 200, ""

    def tell_state(_path: str, _body: bytes) -> tuple[int, str]:
        return 200, json.dumps({"state": "drained" if drained.is_set() else "ready"})

    def page(_path: str, _body: bytes) -> tuple[int, str]:
        nonlocal requests
        requests += 1
        return (503, "no") if fail_each and requests % fail_each == 0 else (200, "yes")

    assert Path(flags["control-plane-join-token-file"]).read_text().startswith("token of ")
    serve_pages(flags["metrics-bind"], int(flags["metrics-port"]), {("GET", "/stats/prometheus"): metrics})
    admin = {
        ("POST", "/drain_listeners?inboundonly&graceful"): drain,
        ("GET", "/mainstay/status"): tell_state,
    }
    serve_pages(flags["admin-bind"], int(flags["admin-port"]), admin)
    if verb == "gateway":
        server = ask("Gateway")["servers"][0]
        serve_pages(server["bind"], server["port"]["number"], {("GET", "*"): page})
    else:
        for each in ask("Sidecar").get("ingress", []):
            listening.append(socket.create_server((each["bind"], each["port"]["number"])))
    tell_ready("{}")


note("starts")
if verb == "serve":
    run_control_plane()
else:
    run_proxy()
ended.wait()
note("ends")
