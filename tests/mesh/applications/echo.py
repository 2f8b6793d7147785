"""Answers each line with its instance's name, for as long as the connection lasts."""

from __future__ import annotations

import os
import signal
import socketserver
import threading


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(f"{os.environ['INSTANCE']} {line.decode()}".encode())


class Echo(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


server = Echo((os.environ["HOST"], int(os.environ["PORT"])), Session)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.1)
