"""The round: from staged inputs to published values, each key at most once.

In: staged input changes, demands and releases. Out: `Settled` with what changed, or `More` when the budget
ran out. Invariant: the published values equal those of a graph built from scratch over the same inputs
(except last good values of refused keys), in whatever order the changes came. The control loop calls
`settle`; everything here is synchronous, on one thread, and takes time as an argument.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from mainstay.graph.contract import Cause, Collection, GraphError, K, More, Node, Refused, Settled, V
from mainstay.graph.derived import Compute, Derived, Readable, Reader
from mainstay.graph.explain import Recompute, Ring
from mainstay.graph.index import Index
from mainstay.graph.input import Input
from mainstay.telemetry.log import get_log

log = get_log("graph")

LINGER_MS = 60_000
"""How long an on-demand key outlives its last user: a proxy that reconnects finds its resources made."""

BUDGET_CHECK_KEYS = 16
"""Keys run between two looks at the clock: at some 10 µs a key, the budget is kept to a fraction of a ms."""


def _by_itself(key: Any) -> Any:
    return key


class Graph:
    """Collections in levels. `clock` gives seconds and only measures; `on_exception(collection, key, error)`
    makes the problem that stands for a bug in a `compute` (MS4000)."""

    def __init__(
        self,
        clock: Callable[[], float],
        on_exception: Callable[[str, Any, Exception], Any],
        ring: Ring | None = None,
    ) -> None:
        self._clock = clock
        self._on_exception = on_exception
        self.ring = ring if ring is not None else Ring()
        self.rounds = 0
        self.exceptions = 0
        self._inputs: list[Input[Any, Any]] = []
        self._derived: list[Derived[Any, Any]] = []
        self._names: dict[str, object] = {}
        self._dirty: dict[Derived[Any, Any], dict[Any, Node | None]] = {}
        self._levels: list[int] = []
        self._open = False
        self._round_began = 0.0
        self._causes: dict[Cause, None] = {}
        self._unused: dict[tuple[Derived[Any, Any], Any], None] = {}

    def input(self, name: str) -> Input[Any, Any]:
        """A collection written from outside."""
        made: Input[Any, Any] = Input(self._claim(name))
        self._inputs.append(made)
        self._names[name] = made
        return made

    def derived(
        self,
        name: str,
        compute: Compute[K, V],
        reads: Iterable[Readable],
        each: Iterable[Readable] = (),
        *,
        keep_last: bool = False,
        order: Callable[[K], Any] = _by_itself,
    ) -> Derived[K, V]:
        """A computed collection. Without `each` its keys exist on demand. A graph cannot be cyclic: a
        collection reads only what was built before it. `order` makes keys sortable."""
        self._must_be_idle()
        made = Derived(
            self._claim(name), compute, frozenset(reads), tuple(each), keep_last=keep_last, order=order
        )
        for source in made.drivers:
            driving = source.collection if isinstance(source, Index) else source
            if len(driving) or (isinstance(driving, Derived) and driving.on_demand):
                raise GraphError(f"{name}: drivers must be empty when the graph is built, and not on demand")
        self._derived.append(made)
        self._names[name] = made
        return made

    def index(
        self,
        name: str,
        collection: Collection[K, V],
        index_of: Callable[[K, V], Iterable[Hashable]],
        order: Callable[[K], Any] = _by_itself,
    ) -> Index[K, V]:
        """Buckets over a collection. Not over on-demand ones: who demands what must never change a result."""
        if len(collection) or (isinstance(collection, Derived) and collection.on_demand):
            raise GraphError(f"{name}: {collection!r} must be empty and not on demand to be indexed")
        made = Index(self._claim(name), collection, index_of, order)
        collection.attach(made)
        self._names[name] = made
        return made

    @property
    def collections(self) -> list[Collection[Any, Any]]:
        """Inputs, then derived collections in the order they were built."""
        return [*self._inputs, *self._derived]

    def find_collection(self, name: str) -> Collection[Any, Any] | None:
        found = self._names.get(name)
        return found if isinstance(found, Collection) else None

    @property
    def has_work(self) -> bool:
        """Whether `settle` would do anything."""
        return self._open or any(source.staged for source in self._inputs) or bool(self._dirty)

    def want(self, collection: Derived[K, Any], key: K) -> None:
        """Demands a key: it exists from the next round on, until as many `release` calls and `LINGER_MS`
        later."""
        collection.demand(key, +1)
        collection.idle_since.pop(key, None)
        if not collection.has_run(key):
            self._wake(collection, key, None)

    def release(self, collection: Derived[K, Any], key: K, now: int) -> None:
        """Takes one demand back, at `now` (ms)."""
        if collection.demand(key, -1) == 0 and collection.is_unused(key):
            collection.idle_since[key] = now

    def expire(self, now: int, linger: int = LINGER_MS) -> int:
        """Drops on-demand keys unused for `linger` ms; returns how many. Keys that lose their last reader
        only begin to linger now. Not to be called while a round is open."""
        self._must_be_idle()
        for collection, key in self._unused:
            if collection.has_run(key) and collection.is_unused(key):
                collection.idle_since.setdefault(key, now)
        self._unused.clear()
        dropped = 0
        for collection in reversed(self._derived):
            for key, since in list(collection.idle_since.items()):
                if not collection.is_unused(key):
                    del collection.idle_since[key]
                elif now - since >= linger:
                    del collection.idle_since[key]
                    self._drop(collection, key)
                    collection.publish()
                    dropped += 1
        return dropped

    def settle(self, budget_ms: float = float("inf")) -> Settled | More:
        """Runs the open round, or begins one with all staged changes, for at most about `budget_ms`."""
        began = self._clock()
        if not self._open:
            self._begin(began)
        ran = 0
        while self._levels:
            level = self._levels[0]
            collections = [derived for derived in self._dirty if derived.level == level]
            for derived in sorted(collections, key=self._derived.index):
                keys = self._dirty[derived]
                for key in sorted(keys, key=derived.order):
                    cause = keys.pop(key, None)
                    self._run(derived, key, cause)
                    ran += 1
                    if ran % BUDGET_CHECK_KEYS == 0 and (self._clock() - began) * 1000 >= budget_ms:
                        return More(sum(map(len, self._dirty.values())))
                del self._dirty[derived]
            heapq.heappop(self._levels)
        return self._publish()

    def _claim(self, name: str) -> str:
        if name in self._names:
            raise GraphError(f"two collections are called {name}")
        return name

    def _must_be_idle(self) -> None:
        if self._open:
            raise GraphError("a round is open: call settle until it says Settled")

    def _begin(self, began: float) -> None:
        self._open = True
        self.rounds += 1
        self._round_began = began
        self._causes = {}
        for source in self._inputs:
            for key, cause in source.take_staged(self._wake).items():
                self._causes[cause] = None
                self.ring.add(Recompute(self.rounds, source.name, key, None, True, 0.0, cause))

    def _wake(self, derived: Derived[Any, Any], key: Any, cause: Node | None) -> None:
        keys = self._dirty.get(derived)
        if keys is None:
            keys = self._dirty[derived] = {}
            if derived.level not in self._levels:
                heapq.heappush(self._levels, derived.level)
        keys.setdefault(key, cause)

    def _run(self, derived: Derived[Any, Any], key: Any, cause: Node | None) -> None:
        if not derived.is_alive(key):
            self._drop(derived, key)
            return
        began = self._clock()
        read = Reader(derived.reads, self._pull)
        try:
            result = derived.compute(key, read)
        except GraphError:
            raise
        except Exception as error:  # the named boundary "graph key": one key fails alone
            self.exceptions += 1
            log.exception("compute failed", collection=derived.name, key=key)
            result = Refused((self._on_exception(derived.name, key, error),))
        for readable, lost_key in derived.replace_dependencies(key, read.seen):
            self._note_unused(readable, lost_key)
        if isinstance(result, Refused):
            derived.set_problems(key, result.problems)
            result = derived.newest(key) if derived.keep_last else None
        else:
            derived.set_problems(key, ())
        changed = derived.store(key, result, self._wake)
        seconds = self._clock() - began
        derived.recomputes += 1
        derived.suppressed += not changed
        derived.seconds += seconds
        named = (cause[0].name, cause[1]) if cause is not None else None
        self.ring.add(Recompute(self.rounds, derived.name, key, named, changed, seconds))

    def _pull(self, derived: Derived[Any, Any], key: Any) -> None:
        """A reader asks for an on-demand key of a lower level: made now if it does not exist yet. Its inputs
        are settled already, for they are lower still."""
        if not derived.has_run(key):
            derived.idle_since.setdefault(key, 0)  # alive until its reader is recorded
            self._run(derived, key, None)
            del derived.idle_since[key]
            waiting = self._dirty.get(derived)
            if waiting is not None:
                waiting.pop(key, None)

    def _drop(self, derived: Derived[Any, Any], key: Any) -> None:
        for readable, lost_key in derived.replace_dependencies(key, None):
            self._note_unused(readable, lost_key)
        derived.set_problems(key, ())
        derived.store(key, None, self._wake)

    def _note_unused(self, readable: Readable, key: Any) -> None:
        if isinstance(readable, Derived) and readable.on_demand and readable.is_unused(key):
            self._unused[(readable, key)] = None

    def _publish(self) -> Settled:
        changed: dict[str, frozenset[Any]] = {}
        for collection in self.collections:
            keys = collection.changed_keys()
            if keys:
                changed[collection.name] = frozenset(keys)
            collection.publish()
        self._open = False
        seconds = self._clock() - self._round_began
        return Settled(self.rounds, changed, tuple(self._causes), seconds)
