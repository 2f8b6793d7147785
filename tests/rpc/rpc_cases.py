"""Cases as data: what a caller sends, what a provider must see of it, what is answered, heard and logged.

In: `cases/*.yaml`, one protocol a file; what each field means is told in `cases/README.md`. Out: frozen cases, or an error that
names file and case; and what came of a case's steps, done one after the other between a caller and providers.
"""

from __future__ import annotations

import selectors
import socket
import time
from pathlib import Path
from typing import Any

import msgspec
import yaml
from rpc_frames import Frame, frame

CASES = Path(__file__).parent / "cases"
PROVIDERS = ("plain", "canary")
PATIENCE_S = 10.0


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of them is given. `plain` and `canary`: what that provider sees; `answer`: what it says to it."""

    send: str | None = None
    plain: str | None = None
    canary: str | None = None
    answer: str | None = None
    hear: str | None = None
    closed: bool = False


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `cases/README.md`."""

    name: str
    source: str
    id: int
    steps: tuple[Step, ...]
    log: dict[str, Any] = {}
    envoy: str = ""


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A file of cases."""

    protocol: str
    service: str
    id_bytes: int
    cases: tuple[Case, ...]


def read_cases(path: Path) -> Subject:
    subject = msgspec.convert(yaml.safe_load(path.read_text()), Subject)
    ids = [case.id for case in subject.cases]
    assert len(set(ids)) == len(ids), f"{path.name}: by its id the log tells a case, so each has its own"
    for case in subject.cases:
        for index, step in enumerate(case.steps):
            given = [value for value in msgspec.structs.astuple(step) if value not in (None, False)]
            assert len(given) == 1, f"{path.name}: {case.name}: steps[{index}] has to be one thing"
    return subject


class Provider:
    """A server whose every byte is asked for by a step."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._seen: dict[socket.socket, bytes] = {}
        self._last: socket.socket | None = None

    def take(self, count: int) -> bytes:
        """So many bytes, from the connection on which they come."""
        end = time.monotonic() + PATIENCE_S
        while True:
            for connection, seen in self._seen.items():
                if len(seen) >= count:
                    self._seen[connection] = seen[count:]
                    self._last = connection
                    return seen[:count]
            left = end - time.monotonic()
            assert left > 0, (
                f"saw {[seen.hex(' ') for seen in self._seen.values() if seen]}, not {count} bytes"
            )
            self._read(left)

    def rest(self) -> bytes:
        """What has come and was not asked for."""
        self._read(0)
        return b"".join(self._seen.values())

    def answer(self, data: bytes) -> None:
        """On the connection of what was taken last."""
        assert self._last is not None, "nothing was taken"
        self._last.sendall(data)

    def _read(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._listener:
                connection, _ = self._listener.accept()
                self._selector.register(connection, selectors.EVENT_READ)
                self._seen[connection] = b""
                continue
            peer = key.fileobj
            assert isinstance(peer, socket.socket)
            data = peer.recv(65_536)
            if data:
                self._seen[peer] += data
            else:
                self._selector.unregister(peer)
                self._seen.pop(peer)
                peer.close()

    def close(self) -> None:
        for peer in (*self._seen, self._listener):
            peer.close()
        self._selector.close()


class Run:
    """A case between a caller and the providers."""

    def __init__(self, case: Case, id_bytes: int, port: int, providers: dict[str, Provider]) -> None:
        self._case, self._id_bytes, self._providers = case, id_bytes, providers
        self._caller = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._heard = b""
        self._at: Provider | None = None
        self._number = 0

    def go(self) -> None:
        """Does all steps; the assertion that fails says which."""
        with self._caller:
            for index, step in enumerate(self._case.steps):
                try:
                    self._step(step)
                except (AssertionError, OSError) as error:
                    raise AssertionError(f"steps[{index}]: {error}") from error
            for name, provider in self._providers.items():
                assert provider.rest() == b"", f"{name} saw more than it should"

    def _step(self, step: Step) -> None:
        if step.send is not None:
            self._caller.sendall(self._frame(step.send, self._case.id).data)
        elif step.answer is not None:
            assert self._at is not None, "nothing was seen"
            self._at.answer(self._frame(step.answer, self._number).data)
        elif step.hear is not None:
            expected = self._frame(step.hear, self._case.id).data
            heard = self._hear(len(expected))
            assert heard == expected, f"heard {heard.hex(' ')}, not {expected.hex(' ')}"
        elif step.closed:
            more = self._heard + self._recv()
            assert more == b"", f"heard {more.hex(' ')}, not the end"
        else:
            name = "plain" if step.plain is not None else "canary"
            self._see(name, step.plain or step.canary or "")

    def _see(self, name: str, text: str) -> None:
        self._at = self._providers[name]
        shape = self._frame(text, 0)
        seen = self._at.take(len(shape.data))
        # Calls of many callers share a connection to a provider: their ids are the proxy's there.
        self._number = shape.number_in(seen)
        expected = self._frame(text, self._number).data
        assert seen == expected, f"{name} saw {seen.hex(' ')}, not {expected.hex(' ')}"

    def _frame(self, text: str, number: int) -> Frame:
        return frame(text, number, self._id_bytes)

    def _hear(self, count: int) -> bytes:
        while len(self._heard) < count:
            more = self._recv()
            if not more:
                break
            self._heard += more
        heard, self._heard = self._heard[:count], self._heard[count:]
        return heard

    def _recv(self) -> bytes:
        try:
            return self._caller.recv(65_536)
        except ConnectionResetError:
            return b""
