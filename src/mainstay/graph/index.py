"""Other ways to find the keys of a collection: by a label pair, a host, a namespace.

In: each value change of the collection it belongs to. Out: buckets of keys, and wake-ups when a bucket gains
or loses a key. Invariant: a key is in exactly the buckets that `index_of` names for its newest value. A
reader of "everything" must name a bucket, which keeps the graph's cost proportional to the change.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any, Generic

from mainstay.graph.contract import Collection, K, V, Wake

if TYPE_CHECKING:
    from mainstay.graph.derived import Derived


class Index(Generic[K, V]):
    """`index_of(key, value)` names the buckets a key belongs to."""

    __slots__ = (
        "_buckets",
        "_driven",
        "_index_of",
        "_of_key",
        "_order",
        "_readers",
        "_sorted",
        "collection",
        "name",
    )

    def __init__(
        self,
        name: str,
        collection: Collection[K, V],
        index_of: Callable[[K, V], Iterable[Hashable]],
        order: Callable[[K], Any],
    ) -> None:
        self.name = name
        self.collection = collection
        self._index_of = index_of
        self._order = order
        self._buckets: dict[Hashable, set[K]] = {}
        self._sorted: dict[Hashable, tuple[K, ...]] = {}
        self._of_key: dict[K, frozenset[Hashable]] = {}
        self._readers: dict[Hashable, set[tuple[Derived[Any, Any], Any]]] = {}
        self._driven: list[Derived[Any, Any]] = []

    def __repr__(self) -> str:
        return f"<Index {self.name} buckets={len(self._buckets)}>"

    @property
    def level(self) -> int:
        return self.collection.level

    def find(self, bucket: Hashable) -> tuple[K, ...]:
        """The keys of a bucket in order; empty if nothing is in it."""
        found = self._sorted.get(bucket)
        if found is None:
            members = self._buckets.get(bucket)
            if not members:
                return ()
            found = self._sorted[bucket] = tuple(sorted(members, key=self._order))
        return found

    def newest(self, bucket: Hashable) -> tuple[K, ...] | None:
        """The bucket as a driver of derived keys sees it: None while it is empty."""
        return self.find(bucket) or None

    def size(self, bucket: Hashable) -> int:
        """How many keys a bucket holds: selectors filter the rarest."""
        return len(self._buckets.get(bucket, ()))

    def drive(self, derived: Derived[Any, Any]) -> None:
        """Each bucket that is not empty becomes a key of `derived`."""
        self._driven.append(derived)

    def add_reader(self, bucket: Hashable, reader: tuple[Derived[Any, Any], Any]) -> None:
        self._readers.setdefault(bucket, set()).add(reader)

    def remove_reader(self, bucket: Hashable, reader: tuple[Derived[Any, Any], Any]) -> None:
        readers = self._readers.get(bucket)
        if readers is not None:
            readers.discard(reader)
            if not readers:
                del self._readers[bucket]

    def update(self, key: K, value: V | None, wake: Wake) -> None:
        """Moves a key to the buckets of its new value; wakes the readers of those it entered or left."""
        old = self._of_key.get(key, frozenset())
        new = frozenset(self._index_of(key, value)) if value is not None else frozenset()
        if old == new:
            return
        if new:
            self._of_key[key] = new
        else:
            del self._of_key[key]
        for bucket in old - new:
            members = self._buckets[bucket]
            members.discard(key)
            if not members:
                del self._buckets[bucket]
            self._bucket_changed(bucket, key, was_empty=False, wake=wake)
        for bucket in new - old:
            created = bucket not in self._buckets
            self._buckets.setdefault(bucket, set()).add(key)
            self._bucket_changed(bucket, key, was_empty=created, wake=wake)

    def _bucket_changed(self, bucket: Hashable, key: K, *, was_empty: bool, wake: Wake) -> None:
        self._sorted.pop(bucket, None)
        cause = (self.collection, key)
        for derived, reader_key in self._readers.get(bucket, ()):
            wake(derived, reader_key, cause)
        if was_empty or bucket not in self._buckets:
            for derived in self._driven:
                wake(derived, bucket, cause)
