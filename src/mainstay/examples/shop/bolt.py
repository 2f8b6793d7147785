"""As much of SOFARPC's Bolt protocol, version 1, as the shop needs: many calls on one connection, JSON as content.

Standard library only, and nothing of the mesh: any Bolt client and server would do.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

REQUEST, RESPONSE = 1, 0
CALL, ANSWER, HEARTBEAT = 1, 2, 0
JSON = 12
REQUEST_CLASS = b"com.alipay.sofa.rpc.core.request.SofaRequest"
RESPONSE_CLASS = b"com.alipay.sofa.rpc.core.response.SofaResponse"
_REQUEST = struct.Struct(">BBHBIBiHHI")
_RESPONSE = struct.Struct(">BBHBIBHHHI")
OK, FAILED, NO_SUCH_SERVICE = 0, 2, 6


class CallError(OSError):
    """The answer's status is not success."""


def write_map(headers: dict[str, str]) -> bytes:
    texts = [text.encode() for pair in headers.items() for text in pair]
    return b"".join(struct.pack(">i", len(text)) + text for text in texts)


def read_map(data: bytes) -> dict[str, str]:
    texts, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from(">i", data, at)
        texts.append(data[at + 4 : at + 4 + max(length, 0)].decode())
        at += 4 + max(length, 0)
    return dict(zip(texts[::2], texts[1::2], strict=True))


def read(stream: Any, count: int) -> bytes:
    data: bytes = stream.read(count)
    if len(data) < count:
        raise ConnectionError("the connection ended")
    return data


class Client:
    """Calls over one connection, from many threads; a lost connection is made anew by the next call."""

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._waiting: dict[int, Future[tuple[int, bytes]]] = {}

    def call(self, service: str, method: str, *arguments: object, **headers: str) -> Any:
        """The result of a method; raises OSError."""
        pairs = {"service": service, "sofa_head_method_name": method, **headers}
        mapped, content = write_map(pairs), json.dumps(arguments).encode()
        answer: Future[tuple[int, bytes]] = Future()
        with self._lock:
            connection = self._connection or self._connect()
            number = next(self._ids)
            self._waiting[number] = answer
            sizes = len(REQUEST_CLASS), len(mapped), len(content)
            head = _REQUEST.pack(1, REQUEST, CALL, 1, number, JSON, int(self._timeout_s * 1_000), *sizes)
            connection.sendall(head + REQUEST_CLASS + mapped + content)
        status, result = answer.result(self._timeout_s)
        if status != OK:
            raise CallError(f"{service}/{method} failed with status {status}")
        return json.loads(result)

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address, self._timeout_s)
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        threading.Thread(target=self._read, args=(connection,), daemon=True).start()
        return connection

    def _read(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        try:
            while True:
                _, _, _, _, number, _, status, *sizes = _RESPONSE.unpack(read(stream, _RESPONSE.size))
                parts = [read(stream, size) for size in sizes]
                waiting = self._waiting.pop(number, None)
                if waiting is not None:
                    waiting.set_result((status, parts[2]))
        except (OSError, struct.error) as error:
            self._lose(connection, error)

    def _lose(self, connection: socket.socket, error: Exception) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
                lost, self._waiting = self._waiting, {}
                for each in lost.values():
                    each.set_exception(OSError(f"lost the connection: {error}"))
        connection.close()


def serve(service: str, methods: dict[str, Callable[..., Any]]) -> None:
    """Serves a service's methods on $HOST:$PORT until SIGTERM."""

    class Handler(socketserver.StreamRequestHandler):
        wbufsize = 0
        disable_nagle_algorithm = True

        def handle(self) -> None:
            try:
                while self.answer():
                    pass
            except (OSError, struct.error, ValueError):
                pass  # the caller has gone, or speaks something else

        def answer(self) -> bool:
            head = self.rfile.read(_REQUEST.size)
            if len(head) < _REQUEST.size:
                return False
            _, kind, command, _, number, codec, _, *sizes = _REQUEST.unpack(head)
            _, mapped, content = (read(self.rfile, size) for size in sizes)
            if command == HEARTBEAT:
                self.reply(HEARTBEAT, number, codec, OK, b"", b"")
                return True
            headers = read_map(mapped)
            method = methods.get(headers.get("sofa_head_method_name", ""))
            if headers.get("service") != service or method is None:
                status, result = NO_SUCH_SERVICE, b""
            else:
                try:
                    status, result = OK, json.dumps(method(*json.loads(content))).encode()
                except (TypeError, ValueError, KeyError):
                    status, result = FAILED, b""
            if kind == REQUEST:
                self.reply(ANSWER, number, codec, status, RESPONSE_CLASS, result)
            return True

        def reply(
            self, command: int, number: int, codec: int, status: int, name: bytes, content: bytes
        ) -> None:
            sizes = len(name), 0, len(content)
            self.wfile.write(
                _RESPONSE.pack(1, RESPONSE, command, 1, number, codec, status, *sizes) + name + content
            )

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        request_queue_size = 128

    server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)
