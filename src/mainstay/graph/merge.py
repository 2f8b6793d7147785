"""The same fact from several sources: one value, by precedence.

In: collections of the same key type, first the one that counts most. Out: a derived collection with one value
a key. Invariant: the result depends on the precedence alone, never on the order of arrival. The composition
root builds one per kind of fact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mainstay.graph.contract import Collection, K, Refused, V
from mainstay.graph.derived import Derived, Reader
from mainstay.graph.settle import Graph

Combine = Callable[[K, Sequence[tuple[str, V]]], V | Refused | None]
"""Gets the key and `(collection name, value)` pairs in precedence order, at least one."""


def first_wins(_key: K, found: Sequence[tuple[str, V]]) -> V:
    """The usual rule for what a user wrote: the first source's value, whole."""
    return found[0][1]


def build_merge(
    graph: Graph,
    name: str,
    inputs: Sequence[Collection[K, V]],
    combine: Combine[K, V] = first_wins,
) -> Derived[K, V]:
    """A collection with every key that any of `inputs` has. `combine` decides what several values become."""

    def compute(key: K, read: Reader) -> V | Refused | None:
        found: list[tuple[str, V]] = []
        for collection in inputs:
            value = read.get(collection, key)
            if value is not None:
                found.append((collection.name, value))
        return combine(key, found) if found else None

    return graph.derived(name, compute, reads=tuple(inputs), each=tuple(inputs))
