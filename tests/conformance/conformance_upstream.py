"""Upstreams that do what a case's script says, each on a port of its own, and keep what they saw."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import conformance_http2
from conformance_wire import Message, Wire, WireError, chunk, content, lines, pairs, pause
from h2.exceptions import H2Error

A_MOMENT_MS = 50
"""Between what was written and the RST of an upstream that cuts off: a proxy that hears of both at once may
look at the RST first."""

_BODILESS = (204, 304)


@dataclass(frozen=True)
class Script:
    """What an upstream does: answers in their order, of which the last repeats, or a talk of bytes."""

    answers: tuple[dict[str, Any], ...]
    protocol: str = "h1"
    talk: tuple[dict[str, Any], ...] = ()
    refuses: bool = False
    tls: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, int] = field(default_factory=dict)


def read_script(written: Any) -> Script:
    """`{status: 503}`, a list of such answers, or a mapping with `answers`, `protocol`, `talk`, `tls`, `refuses`."""
    if isinstance(written, list):
        return Script(tuple(written))
    fields = dict(written or {})
    if set(fields) & {"answers", "protocol", "talk", "refuses", "tls", "settings"}:
        answers = fields.pop("answers", [{}])
        return Script(tuple(answers), talk=tuple(fields.pop("talk", ())), **fields)
    return Script((fields,))


class Upstream:
    """One port."""

    def __init__(self, script: Script, certificates: Path) -> None:
        self.script = script
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self.socket.getsockname()[1])
        if script.refuses:
            # Bound and not listening: the port is ours, and connecting to it fails.
            self.socket.close()
            self.socket = socket.socket()
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(("127.0.0.1", self.port))
        self._context = self._tls(certificates) if script.tls else None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.restart()

    def restart(self) -> None:
        """As if nothing had been asked yet."""
        with self._lock:
            self._given = 0
            self.seen: list[Message] = []
            self.errors: list[str] = []
            self.connections = 0
            self.handshakes: list[ssl.SSLSocket] = []

    def _tls(self, certificates: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf = certificates / self.script.tls.get("certificate", "server")
        context.load_cert_chain(f"{leaf}.pem", f"{leaf}-key.pem")
        context.set_alpn_protocols(self.script.tls.get("alpn", ["h2", "http/1.1"]))
        if self.script.tls.get("client"):
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(certificates / "roots.pem")
        return context

    def next_answer(self, path: str) -> dict[str, Any]:
        """The one whose turn it is; one with `paths` has an answer for each path, and for others `*`."""
        with self._lock:
            answer = self.script.answers[min(self._given, len(self.script.answers) - 1)]
            self._given += 1
        paths: dict[str, dict[str, Any]] | None = answer.get("paths")
        return answer if paths is None else paths.get(path, paths.get("*", {}))

    def saw(self, message: Message) -> None:
        with self._lock:
            self.seen.append(message)

    def serve(self, connection: socket.socket) -> None:
        """One connection, to its end."""
        with self._lock:
            self.connections += 1
            self._open.add(connection)
        try:
            if self._context is not None:
                connection.settimeout(5)
                connection = self._context.wrap_socket(connection, server_side=True)
            self._speak(connection)
        except WireError as error:
            self.errors.append(str(error))
        except (OSError, EOFError, ValueError, H2Error):
            pass
        finally:
            with contextlib.suppress(OSError):
                connection.close()

    def _speak(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.script.talk:
            Wire(connection).play(list(self.script.talk))
        elif self.script.protocol == "h2":
            conformance_http2.Server(self, connection).run()
        else:
            wire = Wire(connection)
            connection.settimeout(None)
            while self._exchange(wire):
                pass

    def _exchange(self, wire: Wire) -> bool:
        """One request and its answer; whether the connection goes on."""
        message = wire.head()
        answer = self.next_answer(message.start.split(" ")[1])
        if not answer.get("early"):
            _read_body(wire, message, continues=bool(answer.get("continue")))
        self.saw(message)
        return give(wire, message, answer)

    def close(self) -> None:
        self.socket.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def _read_body(wire: Wire, message: Message, *, continues: bool) -> None:
    if continues:
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    if message.values("transfer-encoding"):
        wire.read_chunks(message)
    elif length := message.values("content-length"):
        message.body = wire.exactly(int(length[0]))


def give(wire: Wire, message: Message, answer: dict[str, Any]) -> bool:
    """Writes one answer of HTTP/1."""
    if "delay_ms" in answer:
        pause(answer["delay_ms"])
    if answer.get("reset"):
        wire.reset()
        return False
    if answer.get("hang"):
        wire.ends(30)
        return False
    if "raw" in answer:
        wire.send(content(answer["raw"]))
        return not answer.get("close")
    if answer.get("close") == "silently":
        return False
    for one in answer.get("interim", []):
        wire.send(
            f"HTTP/1.1 {one['status']} Interim\r\n".encode() + lines(pairs(one.get("headers"))) + b"\r\n"
        )
    wire.send(_head_and_body(message, answer))
    if answer.get("cut") == "reset":
        pause(A_MOMENT_MS)
        wire.reset()
        return False
    if answer.get("stall"):
        wire.ends(30)
        return False
    return not (answer.get("cut") or answer.get("close"))


def _head_and_body(message: Message, answer: dict[str, Any]) -> bytes:
    status = answer.get("status", 200)
    fields = pairs(answer.get("headers"))
    body = message.body if answer.get("echo") else content(answer.get("body", "ok"))
    head = f"HTTP/1.1 {status} {answer.get('reason', 'Said')}\r\n".encode()
    bodiless = message.start.startswith("HEAD ") or status in _BODILESS
    chunks = [content(one) for one in answer.get("chunks", [])]
    if chunks or "trailers" in answer:
        whole = b"".join(chunk(one) for one in chunks or [body])
        end = (
            b""
            if answer.get("cut") or answer.get("stall")
            else b"0\r\n" + lines(pairs(answer.get("trailers"))) + b"\r\n"
        )
        return (
            head
            + lines([*fields, ("transfer-encoding", "chunked")])
            + b"\r\n"
            + (b"" if bodiless else whole + end)
        )
    if status not in _BODILESS and not answer.get("until_close"):
        fields = [*fields, ("content-length", str(answer.get("length", len(body))))]
    return head + lines(fields) + b"\r\n" + (b"" if bodiless else body)


class Upstreams:
    """Accepts for all of them, in one thread; each connection has its own."""

    def __init__(self, certificates: Path) -> None:
        self._certificates = certificates
        self._selector = selectors.DefaultSelector()
        self._all: list[Upstream] = []
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._stopped = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def add(self, script: Script) -> Upstream:
        made = Upstream(script, self._certificates)
        self._all.append(made)
        if not script.refuses:
            self._selector.register(made.socket, selectors.EVENT_READ, made)
        return made

    def start(self) -> None:
        self._thread.start()

    def _accept(self) -> None:
        while not self._stopped:
            for key, _ in self._selector.select():
                if key.data is not None:
                    connection, _ = key.data.socket.accept()
                    threading.Thread(target=key.data.serve, args=(connection,), daemon=True).start()

    def close(self) -> None:
        self._stopped = True
        self._wake.send(b"x")
        self._thread.join()
        self._selector.close()
        for one in self._all:
            one.close()
        self._wake.close()
        self._woken.close()
