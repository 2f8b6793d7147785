"""What config storage is: bytes under keys, one growing revision, whole transactions, watches by revision.

The shape is etcd's, since that is what scale-out uses. In: transactions. Out: entries, pages, events.
Invariants: a transaction happens whole or not at all; every change gets the revision of its transaction;
events come in revision order, each transaction whole, none twice and none left out. Sources, admission,
tokens and registrations call it; it knows nothing of kinds. One conformance suite (`tests/store`) runs over
every implementation.

Methods may block for a disk write; the control loop calls them from a worker thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

MAX_KEY_BYTES = 1_024
MAX_VALUE_BYTES = 1_048_576
"""1 MiB, as the largest object the API takes."""
MAX_OPERATIONS = 10_000
"""Operations in one transaction."""
PAGE_ENTRIES = 1_000
"""Default entries of a scanned page."""
LOG_REVISIONS = 100_000
LOG_AGE_MS = 3_600_000
"""The log keeps at least this many revisions, or those of this age, whichever is more."""


class StoreError(Exception):
    """The store cannot do this now; the text says what to check."""


class StoreFullError(StoreError):
    """No space is left for writes. Reads and watches go on."""


class Entry(msgspec.Struct, frozen=True):
    """A key's value. `created` is the revision of its first write, `revision` that of its last."""

    key: str
    value: bytes
    created: int
    revision: int


class Page(msgspec.Struct, frozen=True):
    """Part of a scan, as of `revision`. `next_key` continues it, None at the end."""

    entries: tuple[Entry, ...]
    revision: int
    next_key: str | None


class Event(msgspec.Struct, frozen=True):
    """One change. `value` None means deleted."""

    key: str
    value: bytes | None
    revision: int


class Compacted(msgspec.Struct, frozen=True):
    """The log no longer reaches back that far; scan anew, then watch from that scan's revision."""

    oldest: int


class Put(msgspec.Struct, frozen=True):
    key: str
    value: bytes


class Delete(msgspec.Struct, frozen=True):
    """Deleting what is not there is allowed and makes no event."""

    key: str


Operation = Put | Delete


class Unchanged(msgspec.Struct, frozen=True):
    """Condition: the key's last write has this revision; 0 means the key does not exist."""

    key: str
    revision: int


class Exists(msgspec.Struct, frozen=True):
    """Condition: the key exists, at whatever revision."""

    key: str


Condition = Unchanged | Exists


class Conflict(msgspec.Struct, frozen=True):
    """A condition did not hold, nothing was written. `revision` is what the key has now, 0 if it does not
    exist."""

    key: str
    revision: int


class Lease(msgspec.Struct, frozen=True):
    """A name held until `expires` (ms of the store's clock). Writes under it carry `condition`, so that a
    holder who lost it without noticing cannot write. `fence` grows with each new holder."""

    name: str
    holder: str
    fence: int
    expires: int
    condition: Condition


class Held(msgspec.Struct, frozen=True):
    """Somebody else holds the lease."""

    name: str
    holder: str
    expires: int


class Store(Protocol):
    """See the module."""

    def revision(self) -> int:
        """The revision of the newest transaction; 0 in an empty store."""

    def get(self, key: str) -> Entry | None: ...

    def scan(self, prefix: str, start: str = "", limit: int = PAGE_ENTRIES) -> Page:
        """Entries whose key begins with `prefix`, in key order, from `start` (inclusive) on."""

    def transact(self, conditions: Sequence[Condition], operations: Sequence[Operation]) -> int | Conflict:
        """Writes all operations under one new revision and returns it, if all conditions hold. A transaction
        that changes nothing returns the current revision. Later operations on a key override earlier ones.
        Raises `StoreFullError`, `StoreError`, and ValueError for what is beyond the limits."""

    def watch(self, prefix: str, after: int, limit: int = PAGE_ENTRIES) -> tuple[Event, ...] | Compacted:
        """Events after a revision, at most about `limit` (a transaction is never cut). Empty when there are
        none."""

    def on_commit(self, told: Callable[[int], None]) -> Callable[[], None]:
        """`told(revision)` is called after each transaction, on whatever thread; returns what ends this."""

    def compact(self, revision: int) -> None:
        """Forgets events up to a revision, inclusive."""

    def close(self) -> None:
        """Waits for writes in progress. Later calls raise `StoreError`."""


def check_transaction(operations: Sequence[Operation]) -> None:
    """Raises ValueError for what no store takes."""
    if len(operations) > MAX_OPERATIONS:
        raise ValueError(
            f"{len(operations)} operations in one transaction; at most {MAX_OPERATIONS} are allowed"
        )
    for operation in operations:
        if not 0 < len(operation.key.encode()) <= MAX_KEY_BYTES:
            raise ValueError(f"key of {len(operation.key.encode())} bytes; 1 to {MAX_KEY_BYTES} are allowed")
        if isinstance(operation, Put) and len(operation.value) > MAX_VALUE_BYTES:
            size = len(operation.value)
            raise ValueError(
                f"value of {size} bytes under {operation.key}; at most {MAX_VALUE_BYTES} are allowed"
            )


def scan_all(store: Store, prefix: str) -> tuple[list[Entry], int]:
    """A whole scan and the revision from which a watch continues it. Pages read after a write may show it
    early; watching from the first page's revision then repeats that change, which is harmless."""
    page = store.scan(prefix)
    entries, revision = list(page.entries), page.revision
    while page.next_key is not None:
        page = store.scan(prefix, start=page.next_key)
        entries.extend(page.entries)
    return entries, revision
