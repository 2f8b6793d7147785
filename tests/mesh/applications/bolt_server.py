"""A Bolt server that answers each call with its version, the service and the method that were called, and one header."""

from __future__ import annotations

import contextlib
import os
import socketserver

from bolt_frames import REQUEST, Request, read_request, response, whole


class Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        take = whole(self.rfile.read)
        with contextlib.suppress(EOFError):
            while True:
                asked = read_request(take)
                self.wfile.write(response(asked, told(asked)))


def told(asked: Request) -> bytes:
    if asked.command != REQUEST:
        return b""
    headers = asked.headers
    called = (os.environ["VERSION"], headers["service"], headers["sofa_head_method_name"])
    return " ".join((*called, headers.get("x-seen", "-"))).encode()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server((os.environ["HOST"], int(os.environ["PORT"])), Connection).serve_forever()
