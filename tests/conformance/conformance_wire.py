"""HTTP/1 as bytes, read without forgiveness and with the names of fields as they were written."""

from __future__ import annotations

import re
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 8.0
"""How long a peer may be silent before a test calls it dead."""
_MOST = 65_536


class WireError(Exception):
    """The peer said something else, or nothing."""


@dataclass
class Message:
    """One message: what a client got, or what an upstream saw."""

    start: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    protocol: str = "h1"
    whole: bool = True
    chunked: bool = False

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.fields]


def pause(milliseconds: float) -> None:
    """Lets time pass where that is what a case is about: a slow server, a caller who thinks. Never to wait for something."""
    time.sleep(milliseconds / 1_000)


class Wire:
    """A connection that is read piece by piece."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(PATIENCE_S)
        self._held = b""
        self._spoken = False

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def more(self) -> bytes:
        """Reads once; empty at the end."""
        return self.connection.recv(_MOST)

    def _fill(self) -> None:
        data = self.more()
        if not data:
            raise EOFError(f"ended after {self._held[-300:]!r}")
        self._held += data

    def until(self, mark: bytes) -> bytes:
        while mark not in self._held:
            self._fill()
        found, _, self._held = self._held.partition(mark)
        return found

    def exactly(self, count: int) -> bytes:
        while len(self._held) < count:
            self._fill()
        found, self._held = self._held[:count], self._held[count:]
        return found

    def rest(self) -> bytes:
        """Up to the end."""
        while data := self.more():
            self._held += data
        found, self._held = self._held, b""
        return found

    def expect(self, pattern: str) -> None:
        """Reads exactly the text; after `~`, as much as the expression takes."""
        if not pattern.startswith("~"):
            wanted = pattern.encode("latin-1")
            try:
                got = self.exactly(len(wanted))
            except (EOFError, TimeoutError) as error:
                if isinstance(error, EOFError) and not self._spoken and not self._held:
                    raise  # nobody said anything: a connection made in advance
                raise WireError(f"wanted {pattern!r}, got {self._held!r} and {error!r}") from error
            self._spoken = True
            if got != wanted:
                raise WireError(f"wanted {wanted!r}, got {got + self._held!r}")
            return
        expression = re.compile(pattern[1:].encode("latin-1"), re.DOTALL)
        while not (found := expression.match(self._held)):
            try:
                self._fill()
            except (EOFError, TimeoutError, ConnectionError) as error:
                if isinstance(error, EOFError) and not self._spoken and not self._held:
                    raise
                raise WireError(f"wanted {pattern!r}, got {self._held!r} and {error!r}") from error
        self._spoken = True
        self._held = self._held[found.end() :]

    def ends(self, within: float = PATIENCE_S) -> bool:
        """Whether the peer has closed by then; what it still says is thrown away."""
        self.connection.settimeout(within)
        try:
            while self.more():
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(PATIENCE_S)
        return True

    def reset(self) -> None:
        """Closes with a RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def close(self) -> None:
        self.connection.close()

    def head(self) -> Message:
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        return Message(lines[0], [_field(line) for line in lines[1:]])

    def request(self) -> Message:
        """A whole request."""
        message = self.head()
        if message.values("transfer-encoding"):
            self.read_chunks(message)
        else:
            message.body = self.exactly(int((message.values("content-length") or ["0"])[0]))
        return message

    def response(self, *, bodiless: bool) -> Message:
        """A whole response; one that is cut short is not `whole`."""
        message = self.head()
        status = int(message.start.split(" ")[1])
        if bodiless or status < 200 or status in (204, 304):
            return message
        try:
            if message.values("transfer-encoding"):
                self.read_chunks(message)
            elif length := message.values("content-length"):
                message.body = self.exactly(int(length[0]))
            else:
                message.body = self.rest()
        except (EOFError, ConnectionError):
            message.whole = False
            message.body += self._held
        return message

    def read_chunks(self, message: Message) -> None:
        message.chunked = True
        while size := int(self.until(b"\r\n").split(b";")[0], 16):
            message.body += self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise WireError("a chunk without its end")
        while line := self.until(b"\r\n"):
            message.trailers.append(_field(line.decode("latin-1")))

    def play(self, steps: list[dict[str, Any]]) -> None:
        """Follows a script: `send`, `read`, `wait_ms`, `end`, `closed`, `reset`, `close`."""
        for step in steps:
            ((verb, value),) = step.items()
            if verb == "send":
                self.send(content(value))
            elif verb == "read":
                self.expect(value)
            elif verb == "read_bytes":
                self.exactly(value)
            elif verb == "wait_ms":
                pause(value)
            elif verb == "end":
                self.connection.shutdown(socket.SHUT_WR)
            elif verb == "closed":
                if not self.ends():
                    raise WireError("the connection is still open")
            elif verb == "reset":
                self.reset()
            elif verb == "close":
                self.close()
            else:
                raise WireError(f"no step {verb}")


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip(" \t")


def content(value: Any) -> bytes:
    """Text, or `{repeat: text, times: n}`."""
    if isinstance(value, dict):
        return str(value["repeat"]).encode("latin-1") * int(value["times"])
    return str(value).encode("latin-1")


def pairs(written: Any) -> list[tuple[str, str]]:
    """Fields as a mapping, in which a list means several of one name, or as a list of `name: value`."""
    if isinstance(written, list):
        return [_field(line) for line in written]
    made = []
    for name, value in (written or {}).items():
        made += [(name, str(one)) for one in (value if isinstance(value, list) else [value])]
    return made


def lines(fields: list[tuple[str, str]]) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in fields)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
