"""The row about rest: what a proxy weighs that has nothing to do, and what a connection weighs that is kept.

In: a course. Out: one round of figures per peer. Connections are HTTP/1.1, have been answered once, and are idle when counted.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator

from bench.figures import Round
from bench.measure import LOAD_CORE, PROXY_CORE, BenchError, Ports, Process, cpu_ns, resident_kib, running
from bench.peers import PROGRAMS, Peer, Setup, make_peers
from bench.traffic import REQUEST, Course

SETUP = Setup("bare", ("haproxy", "envoy", "mainstay"))
FIRST_CONNECTIONS = 500
"""What the first of all cost once is not counted."""
CONNECTIONS = 4_000
SETTLE_SECONDS = 0.5
IDLE_SECONDS = 1.0


def rounds_of(course: Course) -> Iterator[Round]:
    """Each round with every peer once, in order."""
    _allow_files(3 * (FIRST_CONNECTIONS + CONNECTIONS))
    ports = Ports()
    port = ports.take()
    upstream = Process((str(PROGRAMS / "upstream"), f"127.0.0.1:{port}", "128"), port)
    with running([upstream], LOAD_CORE, course.folder / "upstream"):
        peers = make_peers(SETUP, port, ports, course.folder, course.only)
        for _ in range(course.rounds):
            yield {peer.name: _measure(peer, course) for peer in peers}


def _allow_files(count: int) -> None:
    """Proxies inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise BenchError(f"at most {hard} files may be open here; {count} are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _measure(peer: Peer, course: Course) -> dict[str, float]:
    with running(peer.processes, PROXY_CORE, course.folder / peer.name) as pids:
        time.sleep(2 * SETTLE_SECONDS)
        spent = cpu_ns(pids)
        time.sleep(IDLE_SECONDS)
        spent = cpu_ns(pids) - spent
        empty = resident_kib(pids)
        with contextlib.ExitStack() as kept:
            _open(peer.port, FIRST_CONNECTIONS, kept)
            few = resident_kib(pids)
            _open(peer.port, CONNECTIONS, kept)
            many = resident_kib(pids)
    return {
        "RSS MiB": empty / 1024,
        "KiB/connection": (many - few) / CONNECTIONS,
        "idle CPU µs/s": spent / 1e3 / IDLE_SECONDS,
    }


def _open(port: int, count: int, kept: contextlib.ExitStack) -> None:
    for _ in range(count):
        _ask(kept.enter_context(socket.create_connection(("127.0.0.1", port), 5)))
    time.sleep(SETTLE_SECONDS)


def _ask(connection: socket.socket) -> None:
    connection.sendall(REQUEST.encode())
    answer = b""
    while not answer.endswith(b"x" * 128):
        more = connection.recv(4_096)
        if not more or (not answer and not more.startswith(b"HTTP/1.1 200")):
            raise BenchError(f"an idle connection was answered with {answer + more!r}")
        answer += more
