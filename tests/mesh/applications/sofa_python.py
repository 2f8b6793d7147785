"""An application on SOFA's own Python library, unchanged: it publishes one service and, asked over HTTP, calls another.

`sofa_python.py PUBLISHED CALLED`. The library knows its sidecar at 127.0.0.1:13330 and 12220, nowhere else.
"""

from __future__ import annotations

import http.server
import os
import sys

from anthunder import AioClient, AioListener, BaseService  # type: ignore[import-not-found]
from mytracer import SpanContext  # type: ignore[import-not-found]


class Echo(BaseService):  # type: ignore[misc]
    def hello(self, body: bytes) -> bytes:
        return b"python says " + body


class Caller(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            found = client.invoke_sync(sys.argv[2], "hello", b"hi", spanctx=SpanContext(), timeout_ms=5_000)
            status, body = 200, bytes(found)
        except Exception as error:  # the test reads it
            status, body = 502, repr(error).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


listener = AioListener((os.environ["HOST"], int(os.environ["RPC_PORT"])), "python")
listener.handler.register_interface(sys.argv[1], Echo)
listener.run_threading()
listener.publish()
client = AioClient("python")
client.subscribe(sys.argv[2])
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Caller).serve_forever()
