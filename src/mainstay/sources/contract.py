"""What a source is: a task that keeps our facts equal to somebody else's content.

In: a directory, a store, a registry. Out: batches of changes and the source's health, into a sink.
Invariants: facts of one source never depend on another's; a full listing opens a new epoch, and keys it did
not bring are removed when its `synced` batch arrives, never before; what cannot be taken is refused alone,
and the last good fact stays. One conformance suite (`tests/sources`) runs over every source.

A source is built as a machine without I/O beside one file that does the I/O; `intake` is the sink.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal, Protocol

import msgspec

State = Literal["starting", "synced", "stale", "failed"]
"""`stale`: what we know may be old, and serves on. `failed`: nothing was ever known."""


class Upsert(msgspec.Struct, frozen=True):
    """A fact as it is now. `object` names it as its author does; `who` is the author, where the source
    knows."""

    key: Hashable
    fact: Any
    object: str = ""
    who: str = ""


class Remove(msgspec.Struct, frozen=True):
    key: Hashable
    object: str = ""
    who: str = ""


class Refuse(msgspec.Struct, frozen=True):
    """What stands at `place` (a key, or a file) cannot be taken, for these reasons; last good facts stay. No
    problems means that it is well again."""

    place: Hashable
    problems: tuple[Any, ...]


Change = Upsert | Remove | Refuse


class Batch(msgspec.Struct, frozen=True):
    """Changes in order. `epoch` grows with each full listing; `revision` is the registry's own, opaque, for
    resuming; `synced` says that with this batch all of the epoch's content has been sent."""

    source: str
    epoch: int
    changes: tuple[Change, ...]
    revision: str = ""
    synced: bool = False


class Health(msgspec.Struct, frozen=True):
    """`since` is in ms of the clock given to the source."""

    source: str
    state: State
    since: int
    reason: str = ""


class Clock(Protocol):
    """Time, given to whatever waits: tests give their own."""

    def now(self) -> int:
        """Monotonic milliseconds."""

    async def sleep(self, ms: int) -> None: ...


class Sink(Protocol):
    """Where a source's batches go."""

    async def put(self, batch: Batch) -> None:
        """Takes a batch; waits while too much of this source is unread."""


class Source(Protocol):
    """A source's task. It ends only by cancellation or by raising; whoever runs it restarts it with
    back-off."""

    @property
    def name(self) -> str: ...

    async def run(self, sink: Sink, epoch: int) -> None:
        """Sends a full listing as `epoch`, then changes, and further epochs as higher numbers."""


class SourceError(Exception):
    """The source cannot be read now: what, and what to check. Expected, so it is shown without a
    traceback."""
