"""A Bolt application that uses the registry API as SOFARPC does: publishes what it serves, or calls through its sidecar.

`sofa.py publish SERVICE`: registers, then answers each call with its instance's name and what the call carried.
`sofa.py subscribe SERVICE`: registers, then serves HTTP: a GET is one call, `?header=value` pairs go with it; 502 tells a
bad status.
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import socketserver
import struct
import sys
import threading
import urllib.parse
import urllib.request
from functools import partial

from bolt_frames import HEARTBEAT, REQUEST, header_map, read_request, read_response, response

REQUEST_CLASS = b"com.alipay.sofa.rpc.core.request.SofaRequest"
BODY = b"hi"


def register(path: str, **fields: object) -> dict[str, object]:
    """As the Java client does: compact JSON as text/plain, unset fields as null."""
    body = json.dumps({**fields, "group": os.environ.get("GROUP")}, separators=(",", ":")).encode()
    asked = urllib.request.Request(
        f"http://{os.environ['REGISTRY_ADDR']}{path}", body, {"Content-Type": "text/plain"}
    )
    with urllib.request.urlopen(asked, timeout=15) as answer:
        told: dict[str, object] = json.load(answer)
    assert told["success"] is True, told
    return told


def exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = stream.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


class Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while True:
            try:
                asked = read_request(partial(exactly, self.request))
            except (EOFError, OSError):
                return
            if asked.command == HEARTBEAT:
                self.request.sendall(response(asked))
            elif not asked.one_way:
                told = {
                    "instance": os.environ["INSTANCE"],
                    "headers": asked.headers,
                    "body": asked.body.decode(),
                }
                self.request.sendall(response(asked, json.dumps(told).encode()))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def publish(service: str) -> None:
    server = Server((os.environ["HOST"], int(os.environ["RPC_PORT"])), Connection)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    register("/configs/application", appName="provider")
    meta = {
        "protocol": "bolt",
        "version": "4.0",
        "serializeType": "hessian2",
        "appName": "provider",
        "properties": {},
    }
    register(
        "/services/publish",
        serviceName=service,
        providerMetaInfo=meta,
        onlyPublishInCloud=False,
        protocolType="bolt",
    )
    print("published", flush=True)
    threading.Event().wait()


def call_once(service: str, headers: dict[str, str]) -> tuple[int, bytes]:
    host, _, port = os.environ["REGISTRY_DATA_ADDR"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as stream:
        block = header_map({"service": service, "sofa_head_method_name": "hello", **headers})
        sizes = (len(REQUEST_CLASS), len(block), len(BODY))
        head = struct.pack(">BBHBIBiHHI", 1, 1, REQUEST, 1, 7, 11, 5_000, *sizes)
        stream.sendall(head + REQUEST_CLASS + block + BODY)
        return read_response(partial(exactly, stream))


class Caller(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        headers = dict(urllib.parse.parse_qsl(query))
        try:
            status, body = call_once(path.strip("/") or sys.argv[2], headers)
        except (OSError, EOFError) as error:
            status, body = 255, repr(error).encode()
        self.send_response(200 if status == 0 else 502)
        self.end_headers()
        self.wfile.write(body if status == 0 else f"status {status} {body!r}".encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


def subscribe(service: str) -> None:
    register("/configs/application", appName="caller")
    told = register(
        "/services/subscribe", serviceName=service, protocolType="bolt", vipOnly=False, properties={}
    )
    print("subscribed", told, flush=True)
    server = http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Caller)
    server.serve_forever()


if __name__ == "__main__":
    {"publish": publish, "subscribe": subscribe}[sys.argv[1]](sys.argv[2])
