"""Envoy's admin pages, over its Unix socket: one short question at a time.

In: method and path. Out: the body, or `Unanswered`. Invariants: no question takes longer than its limit, for the brain's loop
waits; a path of any length works, since the socket is reached through its folder's descriptor. HTTP/1.1 by hand: `http.client`
would load ssl into the agent.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

LIMIT_S = 0.5
MAX_ANSWER_BYTES = 4 * 1024 * 1024


class Unanswered(Exception):  # noqa: N818  it reports a fact
    """There was no answer in time, or one that is none."""


def ask(socket_path: Path, method: str, path: str, limit_s: float = LIMIT_S) -> tuple[int, str]:
    """Status and body."""
    until = time.monotonic() + limit_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(limit_s)
            _connect(connection, socket_path)
            fields = "host: envoy\r\nconnection: close\r\ncontent-length: 0"
            connection.sendall(f"{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
            answer = _read(connection, until)
    except OSError as error:
        raise Unanswered(str(error)) from None
    head, end, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if not end or len(words) < 2 or not words[1].isdigit():
        raise Unanswered("this is no HTTP answer")
    if b"transfer-encoding: chunked" in head.lower():
        body = _join_chunks(body)
    return int(words[1]), body.decode("utf-8", "replace")


def _join_chunks(body: bytes) -> bytes:
    """The body of a chunked answer (RFC 9112 §7.1); what is cut off is missing."""
    pieces: list[bytes] = []
    while body:
        size, end, rest = body.partition(b"\r\n")
        try:
            length = int(size.partition(b";")[0], 16)
        except ValueError:
            raise Unanswered("a chunk of the answer has no length") from None
        if not end or length == 0:
            break
        pieces.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(pieces)


def _connect(connection: socket.socket, path: Path) -> None:
    """A socket's address has room for about a hundred bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _read(connection: socket.socket, until: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise OSError("the answer takes too long")
        connection.settimeout(left)
        piece = connection.recv(65_536)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise OSError("the answer is too long")


def count_active(stats: str, scope: str) -> int:
    """Requests and connections under way, from the text of `/stats`: through inbound clusters alone, or through all but our own
    (the control plane's and the metrics')."""
    total = 0
    for line in stats.splitlines():
        name, colon, value = line.rpartition(": ")
        if not colon or not name.endswith(".upstream_rq_active") or not value.isdigit():
            continue
        cluster = name.removeprefix("cluster.")
        if cluster.startswith("inbound|") or (
            scope == "process" and not cluster.startswith(("xds-grpc.", "prometheus_stats."))
        ):
            total += int(value)
    return total
