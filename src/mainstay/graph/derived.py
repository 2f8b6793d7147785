"""Collections computed from others.

In: a `compute(key, read)` that is pure, and the list of what it may read. Out: values that change only when
something read last time changed. Invariant: what a key depends on is exactly what its last run read. Built by
`Graph`; run by the round in `settle`.

A derived key exists because a driver has it (`each=` collections' keys or an index's buckets), or on demand:
while somebody outside wants it or a higher key reads it, and a while longer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from mainstay.graph.contract import Collection, GraphError, K, Node, Refused, V
from mainstay.graph.index import Index

K2 = TypeVar("K2", bound=Hashable)
V2 = TypeVar("V2")

Readable = Collection[Any, Any] | Index[Any, Any]


class Reader:
    """What a `compute` may ask. Each question is recorded, and only what was asked can cause a recompute."""

    __slots__ = ("_allowed", "_pull", "_seen")

    def __init__(self, allowed: frozenset[Any], pull: Callable[[Derived[Any, Any], Any], None]) -> None:
        self._allowed = allowed
        self._pull = pull
        self._seen: dict[Node, None] = {}

    def get(self, collection: Collection[K2, V2], key: K2) -> V2 | None:
        """One value, None if there is none: depends on this key."""
        if collection not in self._allowed:
            raise GraphError(f"{collection.name} is read but not declared in `reads`")
        node = (collection, key)
        if node not in self._seen:
            self._seen[node] = None
            if isinstance(collection, Derived) and collection.on_demand:
                self._pull(collection, key)
        return collection.newest(key)

    def keys(self, index: Index[K2, V2], bucket: Hashable) -> tuple[K2, ...]:
        """The keys of a bucket, in order: depends on its membership, not on the values."""
        if index not in self._allowed:
            raise GraphError(f"{index.name} is read but not declared in `reads`")
        self._seen[(index, bucket)] = None
        return index.find(bucket)

    def by(self, index: Index[K2, V2], bucket: Hashable) -> list[V2]:
        """The values of a bucket, in key order: depends on its membership and on each value."""
        found: list[V2] = []
        collection = index.collection
        for key in self.keys(index, bucket):
            self._seen[(collection, key)] = None
            value = collection.newest(key)
            if value is not None:
                found.append(value)
        return found

    @property
    def seen(self) -> tuple[Node, ...]:
        return tuple(self._seen)


Compute = Callable[[K, Reader], V | Refused | None]


class Derived(Collection[K, V]):
    """See the module. `keep_last` lets a refused key serve its last good value (routing does; a security
    policy must not: what it cannot compile has to deny, which its `compute` says itself)."""

    __slots__ = (
        "_depends",
        "_problems",
        "_problems_before",
        "_wanted",
        "compute",
        "drivers",
        "idle_since",
        "keep_last",
        "order",
        "reads",
        "recomputes",
        "seconds",
        "suppressed",
    )

    def __init__(
        self,
        name: str,
        compute: Compute[K, V],
        reads: frozenset[Readable],
        drivers: tuple[Readable, ...],
        *,
        keep_last: bool,
        order: Callable[[K], Any],
    ) -> None:
        lower = [readable.level for readable in (*reads, *drivers)]
        super().__init__(name, level=1 + max(lower, default=0))
        self.compute = compute
        self.reads = reads
        self.drivers = drivers
        self.keep_last = keep_last
        self.order = order
        self.recomputes = 0
        self.suppressed = 0
        self.seconds = 0.0
        self.idle_since: dict[K, int] = {}
        self._depends: dict[K, tuple[Node, ...]] = {}
        self._problems: dict[K, tuple[Any, ...]] = {}
        self._problems_before: dict[K, tuple[Any, ...]] = {}
        self._wanted: dict[K, int] = {}
        for driver in drivers:
            driver.drive(self)

    @property
    def on_demand(self) -> bool:
        return not self.drivers

    def problems(self, key: K) -> tuple[Any, ...]:
        """Why the key was refused when it last ran, as published; empty if it was not."""
        if key in self._problems_before:
            return self._problems_before[key]
        return self._problems.get(key, ())

    def refused_keys(self) -> list[K]:
        """Keys that stand refused, in order."""
        return sorted((key for key in self._problems if self.problems(key)), key=self.order)

    def is_alive(self, key: K) -> bool:
        """Whether the key has a reason to exist: a driver has it, or it was demanded and not yet dropped."""
        if self.drivers:
            return any(driver.newest(key) is not None for driver in self.drivers)
        return bool(self._wanted.get(key)) or key in self._readers or key in self.idle_since

    def has_run(self, key: K) -> bool:
        return key in self._depends

    def demand(self, key: K, change: int) -> int:
        """Counts those outside who want an on-demand key; returns how many there are now."""
        if not self.on_demand:
            raise GraphError(f"{self.name} is driven by {self.drivers!r}: its keys cannot be demanded")
        count = self._wanted.get(key, 0) + change
        if count < 0:
            raise GraphError(f"{self.name} key {key!r} was released more often than it was wanted")
        if count:
            self._wanted[key] = count
        else:
            self._wanted.pop(key, None)
        return count

    def is_unused(self, key: K) -> bool:
        return key not in self._wanted and key not in self._readers

    def depends_on(self, key: K) -> tuple[Node, ...]:
        """What the key's last run read."""
        return self._depends.get(key, ())

    def replace_dependencies(self, key: K, seen: tuple[Node, ...] | None) -> list[Node]:
        """Takes what a run read (None: the key is gone); returns the nodes that lost this reader."""
        old = self._depends.get(key, ())
        if seen is None:
            self._depends.pop(key, None)
            seen = ()
        else:
            self._depends[key] = seen
        if old == seen:
            return []
        me = (self, key)
        kept = set(seen)
        lost = [node for node in old if node not in kept]
        for readable, read_key in lost:
            readable.remove_reader(read_key, me)
        for readable, read_key in kept.difference(old):
            readable.add_reader(read_key, me)
        return lost

    def set_problems(self, key: K, problems: tuple[Any, ...]) -> None:
        old = self._problems.get(key, ())
        if old == problems:
            return
        self._problems_before.setdefault(key, old)
        if problems:
            self._problems[key] = problems
        else:
            self._problems.pop(key, None)

    def changed_keys(self) -> set[K]:
        refused = {key for key, old in self._problems_before.items() if self._problems.get(key, ()) != old}
        return super().changed_keys() | refused

    def publish(self) -> None:
        super().publish()
        self._problems_before.clear()
