"""Config storage: bytes under keys with one growing revision. See `contract`."""

from mainstay.store.contract import (
    Compacted,
    Condition,
    Conflict,
    Delete,
    Entry,
    Event,
    Exists,
    Held,
    Lease,
    Operation,
    Page,
    Put,
    Store,
    StoreError,
    StoreFullError,
    Unchanged,
    scan_all,
)
from mainstay.store.lease import give_back, take_lease
from mainstay.store.memory import MemoryStore
from mainstay.store.sqlite import SqliteStore

__all__ = [
    "Compacted",
    "Condition",
    "Conflict",
    "Delete",
    "Entry",
    "Event",
    "Exists",
    "Held",
    "Lease",
    "MemoryStore",
    "Operation",
    "Page",
    "Put",
    "SqliteStore",
    "Store",
    "StoreError",
    "StoreFullError",
    "Unchanged",
    "give_back",
    "scan_all",
    "take_lease",
]
