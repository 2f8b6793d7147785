"""What the brain asks of the engine: the methods of `mainstay.engine.Engine` it uses, as a protocol, so that tests can put a
model in its place; and `Lease`, through which one brain holds calls and keys, so that the next one finds none of them left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from mainstay.engine import ApplyReport, Delta, Event, Held


class Engine(Protocol):
    """See `mainstay.engine.Engine`."""

    def apply(self, delta: Delta) -> ApplyReport: ...
    def check(self, delta: Delta) -> ApplyReport: ...
    def wait(self, timeout_milliseconds: int) -> list[Event]: ...
    def open_grpc(self, cluster: str, path: str, metadata: Sequence[tuple[str, str]] = ()) -> int: ...
    def send(self, call: int, message: bytes, *, end: bool = False) -> None: ...
    def grant(self, call: int, messages: int) -> None: ...
    def cancel(self, call: int) -> None: ...
    def answer(self, token: int, status: int, content_type: str, body: bytes) -> None: ...
    def set_ready(self, ready: bool) -> None: ...
    def set_metrics(self, text: str) -> None: ...
    def give_back_memory(self) -> None: ...
    def drain(
        self, scope: Literal["inbound", "process"], min_milliseconds: int, max_milliseconds: int
    ) -> int: ...
    def held(self) -> list[Held]: ...
    def listeners(self) -> list[tuple[str, str]]: ...
    def generate_key(self) -> int: ...
    def import_key(self, pem: bytes) -> int: ...
    def export_key(self, key: int) -> bytes: ...
    def forget_key(self, key: int) -> None: ...
    def make_csr(self, key: int, uri: str) -> bytes: ...
    def shutdown(self, deadline_milliseconds: int) -> None: ...


class Lease:
    """Calls and keys of one brain. `end` gives all of them back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._calls: set[int] = set()
        self._keys: set[int] = set()

    def open_grpc(self, cluster: str, path: str, metadata: Sequence[tuple[str, str]] = ()) -> int:
        call = self.engine.open_grpc(cluster, path, metadata)
        self._calls.add(call)
        return call

    def cancel(self, call: int) -> None:
        self._calls.discard(call)
        self.engine.cancel(call)

    def closed(self, call: int) -> None:
        """The engine said that it is over."""
        self._calls.discard(call)

    def generate_key(self) -> int:
        return self._own(self.engine.generate_key())

    def import_key(self, pem: bytes) -> int:
        return self._own(self.engine.import_key(pem))

    def forget_key(self, key: int) -> None:
        self._keys.discard(key)
        self.engine.forget_key(key)

    def end(self) -> None:
        """Keys that are in use by a secret in force stay valid there: the engine's secret holds the key itself."""
        for call in tuple(self._calls):
            self.cancel(call)
        for key in tuple(self._keys):
            self.forget_key(key)

    def _own(self, key: int) -> int:
        self._keys.add(key)
        return key
