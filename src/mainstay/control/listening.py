"""Sockets and HTTP servers of the control plane.

In: applications and ports. Out: listening sockets (so that port 0 is known before anything is told), servers as tasks.
Invariant: a port that is taken ends the program with words that name it, before anything was started. Used by `main`.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from mainstay.settings import OperatorError

LOOPBACK = "127.0.0.1"
BACKLOG = 512


def bind(port: int, what: str, flag: str, address: str = LOOPBACK) -> socket.socket:
    """A listening socket; `what` and `flag` are for the error."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        # Listening from now on: who reads the ready file may connect before the server's task has had its first turn.
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise OperatorError(
            f"cannot listen on {address}:{port} for {what}: {error.strerror}. "
            f"Is another control plane running? {flag} chooses another port, 0 any free one"
        ) from None
    return made


def port_of(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


class _Server(uvicorn.Server):
    """Signals are the program's, not the HTTP server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """One HTTP server on a bound socket; `run` is its task, `stop` drains it."""

    def __init__(self, app: ASGIApp, bound: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
            backlog=BACKLOG,
        )
        self._server = _Server(config)
        self._bound = bound

    async def run(self) -> None:
        await self._server.serve(sockets=[self._bound])

    async def stop(self) -> None:
        self._server.should_exit = True
