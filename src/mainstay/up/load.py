"""The load generator of `up`: requests at a steady rate, counted from outside the mesh.

In: URL, rate, connections, on the command line of an own process. Out: one JSON line a second on stdout (`Count`), one
more at the end. Invariant: open loop – a request is due when the clock says so, not when the previous one has ended; what
cannot be sent because every connection is busy for `PATIENCE_S` counts as a failure. Run by `up/run`.
"""

from __future__ import annotations

import http.client
import queue
import signal
import sys
import threading
import time
from urllib.parse import urlsplit

import msgspec

PATIENCE_S = 10.0
"""A request without an answer by then has failed."""


SHOWN_BYTES = 200
"""Of the answer to a request that failed."""


class Count(msgspec.Struct):
    """Totals since the start."""

    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    last_failure: str = ""


class Load:
    """`connections` threads take due requests from one queue."""

    def __init__(self, url: str, rate: float, connections: int) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._rate = rate
        self._due: queue.Queue[float | None] = queue.Queue(maxsize=max(1, int(rate * PATIENCE_S)))
        self._lock = threading.Lock()
        self._count = Count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(connections)]

    def run(self) -> None:
        """Until `stop`; prints counts."""
        for thread in self._threads:
            thread.start()
        started = time.monotonic()
        shown = started
        number = 0
        while not self._stop.is_set():
            due = started + number / self._rate
            if self._stop.wait(max(0.0, due - time.monotonic())):
                break
            number += 1
            with self._lock:
                self._count.sent += 1
            try:
                self._due.put_nowait(due)
            except queue.Full:
                self._settle("every connection was busy for too long")
            if time.monotonic() - shown >= 1:
                shown += 1
                self._show()
        for _ in self._threads:
            self._due.put(None)
        for thread in self._threads:
            thread.join()
        self._show()

    def stop(self) -> None:
        self._stop.set()

    def _show(self) -> None:
        with self._lock:
            sys.stdout.buffer.write(msgspec.json.encode(self._count) + b"\n")
            sys.stdout.buffer.flush()

    def _settle(self, failure: str) -> None:
        with self._lock:
            if failure:
                self._count.failed += 1
                self._count.last_failure = failure
            else:
                self._count.succeeded += 1

    def _work(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while self._due.get() is not None:
            if connection is None:
                connection = http.client.HTTPConnection(self._host, self._port, timeout=PATIENCE_S)
            failure = self._ask(connection)
            self._settle(failure)
            if failure or connection.sock is None:
                connection.close()
                connection = None

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        try:
            connection.request("GET", self._path)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        shown = body[:SHOWN_BYTES].decode(errors="replace")
        return "" if response.status < 500 else f"status {response.status}: {shown}"


def main(arguments: list[str]) -> int:
    """`URL RATE CONNECTIONS`."""
    url, rate, connections = arguments
    load = Load(url, float(rate), int(connections))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: load.stop())
    load.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
