"""An application for tests of `up`: answers on $HOST:$PORT, writes to the journal when it starts and ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def note(what: str) -> None:
    with Path(os.environ["JOURNAL"]).open("a") as file:
        file.write(f"{what} application {os.environ['INSTANCE']}\n")


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


note("starts")
if sys.argv[1:] == ["crash"]:
    print("I cannot", flush=True)
    sys.exit(3)
host = "0.0.0.0" if sys.argv[1:] == ["wide"] else os.environ["HOST"]
server = ThreadingHTTPServer((host, int(os.environ["PORT"])), Page)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.02)
note("ends")
