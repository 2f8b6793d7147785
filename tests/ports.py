"""Ports for programs that tests start: none that the system gives to clients, none twice, each worker of the tests its own."""

from __future__ import annotations

import contextlib
import os
import random
import socket

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_FIRST, _BEHIND = 10_000, 30_000
_given: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens: nobody else takes it before the program does that it is for."""
    while True:
        port = random.randrange(_FIRST + _WORKER, _BEHIND, _WORKERS)
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _given.add(port)
            return port
