"""The client of a case: does what an exchange says, over HTTP/1, HTTP/2 or bytes, and tells what it observed."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance_http2 import Client as Http2
from conformance_http2 import Outcome
from conformance_wire import PATIENCE_S, Message, Wire, chunk, content, lines, pairs


@dataclass
class Observed:
    """What came of one exchange."""

    status: int | None = None
    message: Message | None = None
    interim: list[int] = field(default_factory=list)
    closed: bool | None = None
    reset: int | None = None
    goaway: int | None = None
    tls: str | None = None
    alpn: str | None = None
    took_ms: float = 0.0


class Session:
    """Connections of one case to its listener."""

    def __init__(self, port: int, authority: str, certificates: Path) -> None:
        self._port = port
        self._authority = authority
        self._certificates = certificates
        self._kept: dict[str, tuple[Wire | Http2, Observed]] = {}

    def close(self) -> None:
        for link, _ in self._kept.values():
            link.connection.close()

    def do(self, does: dict[str, Any], *, closed: bool) -> Observed:
        """`closed`: whether to find out if the proxy closes the connection afterwards."""
        began = time.monotonic()
        observed = self._do(does, closed=closed)
        observed.took_ms = (time.monotonic() - began) * 1_000
        return observed

    def _do(self, does: dict[str, Any], *, closed: bool) -> Observed:
        client = does.get("client") or {}
        if isinstance(client, str):
            client = {"protocol": client}
        name = does.get("connection")
        kept = self._kept.get(name) if name else None
        try:
            link, met = kept or self._connect(client)
        except (ssl.SSLError, ConnectionError) as error:
            return Observed(tls="refused", closed=True) if client.get("tls") is not None else _raise(error)
        if name:
            self._kept[name] = (link, met)
        try:
            observed = self._speak(link, does, client)
        except ssl.SSLError:
            # In TLS 1.3 a server that refuses the client's certificate says so after the client's part.
            return Observed(tls="refused", closed=True)
        except (EOFError, ConnectionError):
            refused = client.get("tls") is not None and not isinstance(link, Http2)
            return Observed(closed=True, tls="ended" if refused else None)
        observed.tls, observed.alpn = met.tls, met.alpn
        if closed and observed.closed is None:
            observed.closed = link.ends(1.5) if isinstance(link, Wire) else _ends(link)
        if not name:
            link.connection.close()
        return observed

    def _speak(self, link: Wire | Http2, does: dict[str, Any], client: dict[str, Any]) -> Observed:
        if "talk" in does:
            assert isinstance(link, Wire)
            link.play(does["talk"])
            return Observed()
        request = does.get("request", "GET /")
        if isinstance(request, str):
            method, path = request.split(" ", 1)
            request = {"method": method, "path": path}
        if isinstance(link, Http2):
            scheme = "https" if client.get("tls") is not None else "http"
            return _observed(link.ask(request, self._authority, scheme), link)
        return _ask(link, request, self._authority)

    def _connect(self, client: dict[str, Any]) -> tuple[Wire | Http2, Observed]:
        source = (client["from"], 0) if "from" in client else None
        connection = socket.create_connection(("127.0.0.1", self._port), PATIENCE_S, source)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if "before" in client:
            connection.sendall(content(client["before"]))
        observed = Observed()
        if client.get("tls") is not None:
            secured = self._secure(connection, client["tls"])
            observed.tls, observed.alpn = secured.version(), secured.selected_alpn_protocol()
            connection = secured
        if client.get("protocol") == "h2":
            return Http2(connection, client.get("settings")), observed
        return Wire(connection), observed

    def _secure(self, connection: socket.socket, wanted: dict[str, Any]) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self._certificates / "roots.pem")
        if "alpn" in wanted:
            context.set_alpn_protocols(wanted["alpn"])
        if "certificate" in wanted:
            leaf = self._certificates / wanted["certificate"]
            context.load_cert_chain(f"{leaf}.pem", f"{leaf}-key.pem")
        if "version" in wanted:
            version = ssl.TLSVersion[wanted["version"]]
            context.minimum_version, context.maximum_version = version, version
        return context.wrap_socket(connection, server_hostname=wanted.get("sni"))


def _raise(error: Exception) -> Observed:
    raise error


def _ask(wire: Wire, request: dict[str, Any], authority: str) -> Observed:
    """One request of HTTP/1 and its response."""
    observed = Observed()
    method = request.get("method", "GET")
    wire.send(_bytes(request, method, authority))
    if "then" in request:
        wire.play(request["then"])
    if request.get("leave"):
        return observed
    while True:
        message = wire.response(bodiless=method == "HEAD")
        status = int(message.start.split(" ")[1])
        if status >= 200 or status == 101:
            break
        observed.interim.append(status)
        if status == 100 and "continue" in request:
            wire.send(content(request["continue"]))
    observed.status, observed.message = status, message
    return observed


def _bytes(request: dict[str, Any], method: str, authority: str) -> bytes:
    if "raw" in request:
        return content(request["raw"])
    host = request.get("authority", authority)
    fields = [("host", str(host))] if host is not False else []
    fields += pairs(request.get("headers"))
    start = f"{method} {request.get('path', '/')} {request.get('version', 'HTTP/1.1')}\r\n".encode("latin-1")
    if "chunks" in request or "trailers" in request:
        body = b"".join(chunk(content(one)) for one in request.get("chunks", []))
        end = b"0\r\n" + lines(pairs(request.get("trailers"))) + b"\r\n"
        return start + lines([*fields, ("transfer-encoding", "chunked")]) + b"\r\n" + body + end
    body = content(request.get("body", ""))
    if body:
        fields.append(("content-length", str(len(body))))
    return start + lines(fields) + b"\r\n" + body


def _observed(outcome: Outcome, link: Http2) -> Observed:
    status = dict(outcome.message.fields).get(":status")
    return Observed(
        int(status) if status else None,
        outcome.message,
        outcome.interim,
        True if link.closed else None,
        outcome.reset,
        outcome.goaway,
    )


def _ends(link: Http2) -> bool:
    link.connection.settimeout(1.5)
    try:
        while events := link.events():
            link.keep(events)
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
