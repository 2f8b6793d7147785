"""Which resources may go to the engine now: names needed against names there.

In: `Offer`ed resources, what became of those handed to the engine (`Applied`), and the question for the next delta (`take`).
Out: `Change`s for the engine, and `Demand`: the names that something needs. Invariants: a resource goes to the engine only when
all that it needs is in force there, so clusters follow endpoints and secrets, routes clusters, listeners routes and secrets;
the old version serves meanwhile. What nobody needs any more is removed after those that needed it. What is taken away from
under something that serves stays: a cluster for `LINGER_MS`, or while a successor without it waits; endpoints, routes and
secrets until nothing refers to them. A server that knows no order (make before break) thus costs no request.

What does not come is waited for as long as its source says, `PATIENCE_MS` by default; then what needs it goes on without, and
only what it is missing fails: a route to no cluster answers 503 (NC), a cluster without endpoints 503 (UH), a listener without
routes 404 (NR), and of a listener only the chains whose secrets are missing turn clients away. A cluster is never sent without
its secrets: the one before serves. What waits so long is told once. No I/O, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from mainstay.sidecar.convert.references import Kind, Reference
from mainstay.sidecar.convert.source import PATIENCE_MS
from mainstay.sidecar.convert.table import Encoded

ORDER: tuple[Kind, ...] = ("secret", "endpoints", "cluster", "route", "generic_route", "listener")
"""A delta is applied in this order, removals in reverse."""

LINGER_MS = 5_000
"""How long a cluster that was removed serves routes and listeners that still name it."""

BY_REFERENCE: frozenset[Kind] = frozenset({"secret", "endpoints", "route", "generic_route"})
"""Kinds that live only as long as something refers to them; clusters and listeners live until removed."""


ROUTES: frozenset[Kind] = frozenset({"route", "generic_route"})
"""Kinds of route tables."""


class Offer(msgspec.Struct, frozen=True):
    """Resources to bring in force, and names to remove. `local`: the proxy's own, so nobody is asked for them and they stay
    without being needed."""

    upserts: tuple[Encoded, ...] = ()
    removals: tuple[Reference, ...] = ()
    local: bool = False


class Change(msgspec.Struct, frozen=True):
    """One delta for the engine, in the order of kinds."""

    upserts: tuple[Encoded, ...]
    removals: tuple[Reference, ...]


class Demand(msgspec.Struct, frozen=True):
    """Names of a kind that are needed and not local; sorted."""

    kind: Kind
    names: tuple[str, ...]


class Stuck(msgspec.Struct, frozen=True):
    """A resource that waits, and for what; `goes_on`: no more, it is on its way without."""

    reference: Reference
    missing: tuple[Reference, ...]
    since: int
    goes_on: bool = False


class _Held(msgspec.Struct, frozen=True, gc=False):
    digest: str
    needs: frozenset[Reference]


class _Waiting(msgspec.Struct):
    offered: Encoded
    since: int
    missing: set[Reference]
    reported: bool = False

    def patience(self, need: Reference) -> float:
        for known, waits in self.offered.patience:
            if known == need:
                return math.inf if waits is None else waits
        return PATIENCE_MS


class Warming:
    """The machine. Times are milliseconds of a monotonic clock. `clusters_come`: more may come than are there from the start;
    else nobody waits for one."""

    def __init__(self, *, clusters_come: bool = True) -> None:
        self._cluster_patience = PATIENCE_MS if clusters_come else 0
        self._held: dict[Reference, _Held] = {}
        self._waiting: dict[Reference, _Waiting] = {}
        """In the order in which they began to wait."""
        self._least_patience: float = self._cluster_patience
        self._ready: dict[Reference, Encoded] = {}
        self._applying: dict[Reference, Encoded] = {}
        self._removing: dict[Reference, int] = {}
        """What shall go, and since when."""
        self._users: dict[Reference, dict[Reference, int]] = {}
        """What is needed → who needs it, in force or on the way (counted: both versions may)."""
        self._local: set[Reference] = set()
        self._changed: set[Kind] = set()
        """Kinds whose demand may have changed."""
        self._absent: set[Reference] = set()
        """What was waited for in vain: nothing waits for it again, until it comes."""
        self._told: list[Stuck] = []
        """What has gone on without, not yet told."""
        self._orphans: set[Reference] = set()
        """What may have lost its last user; looked at when the next change is made."""

    def offer(self, offer: Offer, now: int) -> None:
        """Takes in resources; nothing goes out before `take`."""
        for encoded in offer.upserts:
            reference = (encoded.kind, encoded.name)
            if offer.local:
                self._local.add(reference)
            if self._removing.pop(reference, None) is not None:
                self._arrived(reference)
            self._forget_coming(reference)
            held = self._held.get(reference)
            if held is not None and held.digest == encoded.digest:
                continue
            self._use(reference, encoded.needs)
            missing = {
                need
                for need in encoded.needs
                if (need not in self._held or need in self._removing) and need not in self._absent
            }
            if missing:
                waiting = self._waiting[reference] = _Waiting(encoded, now, missing)
                self._least_patience = min((self._least_patience, *map(waiting.patience, missing)))
            else:
                self._ready[reference] = encoded
        for reference in offer.removals:
            self._local.discard(reference)
            self._forget_coming(reference)
            if reference in self._held:
                self._removing.setdefault(reference, now)

    def take(self, now: int) -> Change | None:
        """The next delta, if there is one. Its outcome must be told by `applied` before the next `take`."""
        assert not self._applying, "the last change's outcome is not known yet"
        self._drop_orphans(now)
        self._go_on(now)
        removals = tuple(
            sorted(
                (
                    reference
                    for reference, since in self._removing.items()
                    if self._stays_until(reference, since) <= now
                ),
                key=lambda reference: (-ORDER.index(reference[0]), reference[1]),
            )
        )
        for reference in removals:
            del self._removing[reference]
            self._lose(reference, now)
        upserts = tuple(
            sorted(self._ready.values(), key=lambda encoded: (ORDER.index(encoded.kind), encoded.name))
        )
        self._applying = {(encoded.kind, encoded.name): encoded for encoded in upserts}
        self._ready = {}
        return Change(upserts, removals) if upserts or removals else None

    def applied(self, refused: Iterable[Reference] = ()) -> None:
        """Tells what became of the last change: all its upserts are in force but those `refused`."""
        lost = set(refused)
        applying, self._applying = self._applying, {}
        for reference, encoded in applying.items():
            if reference in lost:
                self._unuse(reference, encoded.needs)
                continue
            before = self._held.get(reference)
            self._held[reference] = _Held(encoded.digest, encoded.needs)
            if before is not None:
                self._unuse(reference, before.needs)
            else:
                self._arrived(reference)
            if reference not in self._users:
                self._orphan(reference)

    def demand(self) -> tuple[Demand, ...]:
        """Names that are needed, for each kind for which they may have changed since the last call."""
        kinds, self._changed = self._changed, set()
        return tuple(Demand(kind, self.needed(kind)) for kind in ORDER if kind in kinds)

    def needed(self, kind: Kind) -> tuple[str, ...]:
        """Names of a kind that something needs and that are not local."""
        return tuple(
            sorted(
                reference[1]
                for reference in self._users
                if reference[0] == kind and reference not in self._local
            )
        )

    def refused_late(self, reference: Reference) -> None:
        """The engine found out after it had accepted it; an older version serves, or none. Offered again, it goes out again."""
        held = self._held.get(reference)
        if held is not None:
            self._held[reference] = _Held("", held.needs)

    def coming(self, reference: Reference) -> Encoded | None:
        """What waits for what it needs."""
        waiting = self._waiting.get(reference)
        return waiting.offered if waiting is not None else None

    def refused_waiting(self, reference: Reference) -> None:
        """What waits can never serve: it is not waited for any more. An older version serves on, or none."""
        self._forget_coming(reference)

    def digest(self, reference: Reference) -> str | None:
        """Under which digest it is in force."""
        held = self._held.get(reference)
        return held.digest if held is not None else None

    def holds(self, reference: Reference) -> bool:
        return reference in self._held

    def held(self) -> Mapping[Reference, str]:
        """Digests of what is in force."""
        return {reference: held.digest for reference, held in self._held.items()}

    def knows(self, reference: Reference) -> bool:
        """Whether it is in force or on its way: what else the engine holds is a leftover."""
        return reference in self._held or reference in self._waiting or reference in self._ready

    def waiting(self) -> tuple[Stuck, ...]:
        """All that waits, for pages and logs."""
        return tuple(
            Stuck(reference, tuple(sorted(waiting.missing)), waiting.since)
            for reference, waiting in sorted(self._waiting.items())
        )

    def stuck(self, now: int) -> tuple[Stuck, ...]:
        """What has just waited too long, or gone on; each is told once."""
        found, self._told = self._told, []
        for reference, waiting in self._waiting.items():
            if now - waiting.since < PATIENCE_MS:
                break  # what began to wait later stands behind
            if not waiting.reported:
                waiting.reported = True
                found.append(Stuck(reference, tuple(sorted(waiting.missing)), waiting.since))
        return tuple(sorted(found, key=lambda stuck: stuck.reference))

    def next_deadline(self) -> int | None:
        """When something has waited for so long that it goes on or is told, at the earliest."""
        nearest = math.inf
        for waiting in self._waiting.values():
            if waiting.since + self._least_patience >= nearest:
                break
            told = math.inf if waiting.reported else waiting.since + PATIENCE_MS
            nearest = min(nearest, told, self._waits_until(waiting))
        return None if nearest == math.inf else int(nearest)

    def _waits_until(self, waiting: _Waiting) -> float:
        """When it goes on without what is missing; a listener not before a route table that has come and waits itself."""
        until = 0.0
        for need in waiting.missing:
            if need[0] == "secret" and waiting.offered.kind == "cluster":
                return math.inf
            itself = self._waiting.get(need)
            if itself is None and (need in self._ready or need in self._applying):
                return math.inf
            unheard = need[0] == "cluster" and itself is None
            longest = waiting.since + (self._cluster_patience if unheard else waiting.patience(need))
            if itself is not None and need[0] in ROUTES:
                longest = max(longest, self._waits_until(itself))
            until = max(until, longest)
        return until

    def _go_on(self, now: int) -> None:
        """What has waited for long enough is ready without what is missing."""
        overdue = []
        for reference, waiting in self._waiting.items():
            if waiting.since + self._least_patience > now:
                break
            if self._waits_until(waiting) <= now:
                overdue.append((reference, waiting))
        # What others wait for goes first, and they then wait for its coming in force.
        for reference, waiting in sorted(overdue, key=lambda item: ORDER.index(item[0][0])):
            if self._waits_until(waiting) > now:
                continue
            del self._waiting[reference]
            self._ready[reference] = waiting.offered
            self._absent |= waiting.missing
            self._told.append(Stuck(reference, tuple(sorted(waiting.missing)), waiting.since, goes_on=True))

    def next_removal(self) -> int | None:
        """When something that lingers may go at the earliest."""
        times = [self._stays_until(reference, since) for reference, since in self._removing.items()]
        nearest = min(times, default=math.inf)
        return None if nearest == math.inf else int(nearest)

    def _forget_coming(self, reference: Reference) -> None:
        """A newer version, or a removal, takes the place of one that has not gone out."""
        ready = self._ready.pop(reference, None)
        if ready is not None:
            self._unuse(reference, ready.needs)
        waiting = self._waiting.pop(reference, None)
        if waiting is not None:
            self._unuse(reference, waiting.offered.needs)

    def _arrived(self, reference: Reference) -> None:
        self._absent.discard(reference)
        for user in tuple(self._users.get(reference, ())):
            waiting = self._waiting.get(user)
            if waiting is None:
                continue
            waiting.missing.discard(reference)
            if not waiting.missing:
                del self._waiting[user]
                self._ready[user] = waiting.offered

    def _lose(self, reference: Reference, now: int) -> None:
        held = self._held.pop(reference, None)
        if held is None:
            return
        self._unuse(reference, held.needs)
        for user in tuple(self._users.get(reference, ())):
            ready = self._ready.get(user)
            if user in self._waiting and reference in self._waiting[user].offered.needs:
                self._waiting[user].missing.add(reference)
            elif ready is not None and reference in ready.needs:
                del self._ready[user]
                self._waiting[user] = _Waiting(ready, now, {reference})

    def _stays_until(self, reference: Reference, since: int) -> float:
        """When it may be taken away from what in force needs it."""
        until = 0.0
        for user in self._users.get(reference, ()):
            held = self._held.get(user)
            if held is None or reference not in held.needs:
                continue
            waiting = self._waiting.get(user)
            coming = waiting.offered if waiting is not None else self._ready.get(user)
            if reference[0] in BY_REFERENCE or (coming is not None and reference not in coming.needs):
                return math.inf
            until = since + LINGER_MS
        return until

    def _drop_orphans(self, now: int) -> None:
        for reference in self._orphans:
            if (
                reference in self._held
                and reference not in self._users
                and reference not in self._local
                and reference not in self._ready
            ):
                self._removing.setdefault(reference, now)
        self._orphans.clear()

    def _use(self, user: Reference, needs: frozenset[Reference]) -> None:
        for need in needs:
            users = self._users.get(need)
            if users is None:
                users = self._users[need] = {}
                self._changed.add(need[0])
            users[user] = users.get(user, 0) + 1

    def _unuse(self, user: Reference, needs: frozenset[Reference]) -> None:
        for need in needs:
            users = self._users[need]
            users[user] -= 1
            if not users[user]:
                del users[user]
                if not users:
                    del self._users[need]
                    self._absent.discard(need)
                    self._changed.add(need[0])
                    self._orphan(need)

    def _orphan(self, reference: Reference) -> None:
        if reference[0] in BY_REFERENCE:
            self._orphans.add(reference)
