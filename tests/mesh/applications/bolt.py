"""A Bolt server that answers each call with its version, the service and the method that were called, and one header."""

from __future__ import annotations

import os
import socketserver

from bolt_frames import REQUEST, read_request, response


class Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.peek(1):
            asked = read_request(self.rfile.read)
            body = b""
            if asked.command == REQUEST:
                headers = asked.headers
                told = (os.environ["VERSION"], headers["service"], headers["sofa_head_method_name"])
                body = " ".join((*told, headers.get("x-seen", "-"))).encode()
            self.wfile.write(response(asked, body))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server((os.environ["HOST"], int(os.environ["PORT"])), Connection).serve_forever()
