"""HTTP/1 as bytes: what a test writes and reads on a socket, strictly framed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket


class Message(NamedTuple):
    start: str
    headers: dict[str, str]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.start.split()[1])


class Reader:
    """Reads whole messages of one direction of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = b""

    def _more(self) -> None:
        data = self.connection.recv(65_536)
        if not data:
            raise EOFError(f"the connection ended behind {self.buffer[-200:]!r}")
        self.buffer += data

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self._more()
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self._more()
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def head(self) -> tuple[str, dict[str, str]]:
        start, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return start, {name.lower(): value.strip() for name, _, value in pairs}

    def message(self, *, bodiless: bool = False) -> Message:
        start, headers = self.head()
        if bodiless:
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = self._chunks()
        else:
            body = self.exactly(int(headers.get("content-length", "0")))
        return Message(start, headers, body)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.until(b"\r\n").split(b";")[0], 16):
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        while self.until(b"\r\n"):
            pass
        return body

    def rest(self) -> bytes:
        """Everything up to the end."""
        while data := self.connection.recv(65_536):
            self.buffer += data
        found, self.buffer = self.buffer, b""
        return found


def request(method: str, path: str, *fields: str, body: bytes = b"", host: str = "test") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", *fields]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def response(status: int, body: bytes = b"", *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def echo(connection: socket.socket) -> None:
    """An HTTP/1 server that answers with the method, the path and the body it got."""
    reader = Reader(connection)
    while True:
        try:
            message = reader.message()
        except EOFError:
            return
        method, path, _ = message.start.split()
        connection.sendall(response(200, f"{method} {path} ".encode() + message.body))
