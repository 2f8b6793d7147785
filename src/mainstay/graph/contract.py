"""What every collection of the graph is: values by key, who read them, and the words a round speaks.

In: values from inputs and from `compute` functions. Out: which keys changed in a round. Invariant: outside a
round everybody sees the values published when the last round ended, never half of the next one. Called by the
other files of this room; the rest of Mainstay uses the names exported by `mainstay.graph`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from mainstay.graph.derived import Derived
    from mainstay.graph.index import Index

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Node = tuple["Collection[Any, Any] | Index[Any, Any]", Any]
"""One thing that can be read and can change: a collection's key, or an index's bucket."""

Wake = Callable[["Derived[Any, Any]", Any, Node], None]
"""Tells the open round that a derived key has to run again, and which node it was that changed."""


class GraphError(Exception):
    """The graph was wired or used wrongly: a mistake of the programmer, never of a user or a peer."""


class Cause(msgspec.Struct, frozen=True):
    """Who changed an input: the write a chain of recomputes is walked back to."""

    source: str
    """Name of the source, such as `files` or `store`."""
    object: str = ""
    """What was written, as its author knows it: kind, namespace and name."""
    revision: str = ""
    """The source's own revision, opaque."""
    who: str = ""
    """The caller of the write, if the source knows one."""


class Refused(msgspec.Struct, frozen=True):
    """A `compute` result: this key cannot be made, for these reasons."""

    problems: tuple[Any, ...]


class Settled(msgspec.Struct, frozen=True):
    """A round is over and published. `changed` names, per collection, the keys whose value or problems differ
    from those published before."""

    round: int
    changed: dict[str, frozenset[Any]]
    causes: tuple[Cause, ...]
    seconds: float


class More(msgspec.Struct, frozen=True):
    """The budget ran out; call `settle` again. Nothing of the open round is visible yet."""

    waiting: int


class Collection(Generic[K, V]):
    """Values by key at one level of the graph. Levels only ever read lower ones, so there are no glitches."""

    __slots__ = ("_before", "_driven", "_indexes", "_readers", "_values", "level", "name")

    def __init__(self, name: str, level: int) -> None:
        self.name = name
        self.level = level
        self._values: dict[K, V] = {}
        self._before: dict[K, V | None] = {}
        self._readers: dict[K, set[tuple[Derived[Any, Any], Any]]] = {}
        self._indexes: list[Index[K, V]] = []
        self._driven: list[Derived[Any, Any]] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} level={self.level} keys={len(self._values)}>"

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The published value, None if there is none."""
        if self._before and key in self._before:
            return self._before[key]
        return self._values.get(key)

    def items(self) -> Iterator[tuple[K, V]]:
        """All published values, in no particular order. For views and tests outside: a `compute` cannot call
        it."""
        for key, value in self._values.items():
            if key not in self._before:
                yield key, value
        for key, before in self._before.items():
            if before is not None:
                yield key, before

    def newest(self, key: K) -> V | None:
        """The value within the open round; for readers at a higher level only."""
        return self._values.get(key)

    def changed_keys(self) -> set[K]:
        """Keys whose value differs, in the open round, from the published one."""
        return {key for key, before in self._before.items() if self._values.get(key) != before}

    def publish(self) -> None:
        """Ends the round for this collection."""
        self._before.clear()

    def drive(self, derived: Derived[Any, Any]) -> None:
        """Each key that exists here becomes a key of `derived`."""
        self._driven.append(derived)

    def attach(self, index: Index[K, V]) -> None:
        self._indexes.append(index)

    def add_reader(self, key: K, reader: tuple[Derived[Any, Any], Any]) -> None:
        self._readers.setdefault(key, set()).add(reader)

    def remove_reader(self, key: K, reader: tuple[Derived[Any, Any], Any]) -> None:
        readers = self._readers.get(key)
        if readers is not None:
            readers.discard(reader)
            if not readers:
                del self._readers[key]

    def store(self, key: K, value: V | None, wake: Wake) -> bool:
        """Takes a key's new value (None removes it); wakes who read it, unless it equals the old one."""
        old = self._values.get(key)
        if old is value or (old is not None and value is not None and old == value):
            return False
        self._before.setdefault(key, old)
        if value is None:
            del self._values[key]
        else:
            self._values[key] = value
        for index in self._indexes:
            index.update(key, value, wake)
        node: Node = (self, key)
        for derived, reader_key in self._readers.get(key, ()):
            wake(derived, reader_key, node)
        if (old is None) != (value is None):
            for derived in self._driven:
                wake(derived, key, node)
        return True
