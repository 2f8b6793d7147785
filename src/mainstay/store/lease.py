"""Leases over any store: who may write for a while, with a fencing number against late writers.

In: a name, a holder, how long; time as an argument (ms of day; instances' clocks should agree within
seconds). Out: `Lease` or `Held`. Invariant: at any revision at most one lease of a name is valid, and a write
carrying the condition of a lost lease fails with `Conflict`. Registrations, bridges and status writers use
it.
"""

from __future__ import annotations

import msgspec

from mainstay.store.contract import Conflict, Delete, Held, Lease, Put, Store, Unchanged

PREFIX = "lease/"


class _Record(msgspec.Struct, frozen=True):
    holder: str
    fence: int
    expires: int


def take_lease(store: Store, name: str, holder: str, life_ms: int, now: int) -> Lease | Held:
    """Takes a free or expired lease, or renews an own one."""
    key = PREFIX + name
    while True:
        entry = store.get(key)
        record = msgspec.json.decode(entry.value, type=_Record) if entry else None
        if record is not None and record.holder != holder and record.expires > now:
            return Held(name, record.holder, record.expires)
        fence = 1 if record is None else record.fence + (record.holder != holder)
        taken = _Record(holder, fence, now + life_ms)
        revision = store.transact(
            [Unchanged(key, entry.revision if entry else 0)], [Put(key, msgspec.json.encode(taken))]
        )
        if not isinstance(revision, Conflict):
            return Lease(name, holder, fence, taken.expires, Unchanged(key, revision))


def give_back(store: Store, lease: Lease) -> bool:
    """Ends a lease early; False if it was lost before. The fence starts anew only with an empty key, so
    writes of the old holder still fail: their condition names a revision that is gone."""
    return not isinstance(store.transact([lease.condition], [Delete(PREFIX + lease.name)]), Conflict)
