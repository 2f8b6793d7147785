"""The ledger speaks a protocol of its own over TCP: a line in, its number out, then it closes."""

from __future__ import annotations

import itertools
import os
import signal
import socketserver
import threading

_numbers = itertools.count(1)


class Entry(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self) -> None:
        line = self.rfile.readline(4096).decode(errors="replace").strip()
        if line:
            self.wfile.write(f"{next(_numbers)} {line}\n".encode())


class Ledger(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


server = Ledger((os.environ["HOST"], int(os.environ["PORT"])), Entry)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.1)
