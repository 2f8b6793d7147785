"""What every store must do, run over each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.store import (
    Compacted,
    Conflict,
    Delete,
    Entry,
    Event,
    Exists,
    Held,
    Lease,
    MemoryStore,
    Operation,
    Put,
    SqliteStore,
    Store,
    StoreError,
    Unchanged,
    give_back,
    scan_all,
    take_lease,
)

Open = Callable[[], Store]
STORES = ["memory", "sqlite"]


class Clock:
    now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = (
        MemoryStore(log_revisions=10)
        if request.param == "memory"
        else SqliteStore(tmp_path / "store.db", Clock(), log_revisions=10)
    )
    yield made
    made.close()


def write(store: Store, *operations: Operation) -> int:
    revision = store.transact([], operations)
    assert isinstance(revision, int)
    return revision


def test_each_transaction_gets_the_next_revision(store: Store) -> None:
    assert store.revision() == 0
    assert write(store, Put("a", b"1"), Put("b", b"2")) == 1
    assert write(store, Put("a", b"3")) == 2
    assert store.get("a") == Entry("a", b"3", created=1, revision=2)
    assert store.get("b") == Entry("b", b"2", created=1, revision=1)
    assert store.get("c") is None


def test_transaction_without_effect_takes_no_revision(store: Store) -> None:
    write(store, Put("a", b"1"))
    assert write(store, Delete("missing")) == 1
    assert write(store) == 1
    assert store.watch("", after=1) == ()


@pytest.mark.parametrize(
    ("condition", "conflict"),
    [
        (Unchanged("a", 1), None),
        (Unchanged("a", 2), Conflict("a", 1)),
        (Unchanged("a", 0), Conflict("a", 1)),
        (Unchanged("new", 0), None),
        (Unchanged("new", 1), Conflict("new", 0)),
        (Exists("a"), None),
        (Exists("new"), Conflict("new", 0)),
    ],
)
def test_conditions_decide_the_whole_transaction(
    store: Store, condition: Unchanged | Exists, conflict: Conflict | None
) -> None:
    write(store, Put("a", b"1"))
    outcome = store.transact([condition], [Put("x", b"x"), Delete("a")])
    assert outcome == (conflict or 2)
    assert (store.get("x") is None) == (conflict is not None)
    assert (store.get("a") is None) == (conflict is None)


def test_later_operation_on_a_key_counts(store: Store) -> None:
    write(store, Put("a", b"1"), Delete("a"), Put("b", b"1"), Put("b", b"2"))
    assert store.get("a") is None
    assert store.watch("", after=0) == (Event("b", b"2", 1),)


def test_scan_pages_in_key_order_and_stays_inside_the_prefix(store: Store) -> None:
    write(store, *(Put(key, b"") for key in ["p/b", "p/a", "p/c", "q/a", "o", "p0"]))
    page = store.scan("p/", limit=2)
    assert ([entry.key for entry in page.entries], page.next_key) == (["p/a", "p/b"], "p/c")
    page = store.scan("p/", start="p/c", limit=2)
    assert ([entry.key for entry in page.entries], page.next_key, page.revision) == (["p/c"], None, 1)
    assert [entry.key for entry in scan_all(store, "")[0]] == ["o", "p/a", "p/b", "p/c", "p0", "q/a"]


def test_watch_tells_changes_in_order_and_whole_transactions(store: Store) -> None:
    write(store, Put("a", b"1"))
    write(store, Put("a", b"2"), Put("b", b"2"), Put("other", b""))
    write(store, Delete("a"))
    assert store.watch("", after=2) == (Event("a", None, 3),)
    assert store.watch("a", after=0) == (Event("a", b"1", 1), Event("a", b"2", 2), Event("a", None, 3))
    cut = store.watch("", after=0, limit=2)
    assert cut == (Event("a", b"1", 1), Event("a", b"2", 2), Event("b", b"2", 2), Event("other", b"", 2))


def test_watch_behind_a_compaction_has_to_scan_anew(store: Store) -> None:
    for number in range(4):
        write(store, Put("a", b"%d" % number))
    store.compact(2)
    assert store.watch("", after=1) == Compacted(2)
    assert store.watch("", after=2) == (Event("a", b"2", 3), Event("a", b"3", 4))
    store.compact(1_000)
    assert store.watch("", after=4) == ()
    assert store.get("a") == Entry("a", b"3", 1, 4)


def test_watchers_are_told_of_each_commit(store: Store) -> None:
    told: list[int] = []
    end = store.on_commit(told.append)
    write(store, Put("a", b""))
    write(store, Put("b", b""))
    end()
    write(store, Put("c", b""))
    assert told == [1, 2]


def test_limits_are_refused_before_anything_is_written(store: Store) -> None:
    with pytest.raises(ValueError, match="1048577 bytes under a"):
        store.transact([], [Put("b", b""), Put("a", b"x" * 1_048_577)])
    with pytest.raises(ValueError, match="key of 1025 bytes"):
        store.transact([], [Put("k" * 1_025, b"")])
    with pytest.raises(ValueError, match="10001 operations"):
        store.transact([], [Put("k", b"")] * 10_001)
    assert store.revision() == 0


def test_writers_of_many_threads_lose_nothing(store: Store) -> None:
    def add_ten() -> None:
        for _ in range(10):
            while True:
                entry = store.get("count")
                value = b"%d" % (int(entry.value) + 1 if entry else 1)
                condition = Unchanged("count", entry.revision if entry else 0)
                if not isinstance(store.transact([condition], [Put("count", value)]), Conflict):
                    break

    threads = [threading.Thread(target=add_ten) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entry = store.get("count")
    assert entry is not None
    assert (entry.value, store.revision()) == (b"40", 40)


def test_closed_store_says_so(store: Store) -> None:
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.get("a")
    with pytest.raises(StoreError, match="closed"):
        store.transact([], [Put("a", b"")])


def test_lease_excludes_others_until_it_expires(store: Store) -> None:
    mine = take_lease(store, "leader", "one", life_ms=15_000, now=0)
    assert isinstance(mine, Lease)
    assert take_lease(store, "leader", "two", life_ms=15_000, now=14_999) == Held("leader", "one", 15_000)
    renewed = take_lease(store, "leader", "one", life_ms=15_000, now=5_000)
    assert isinstance(renewed, Lease)
    assert (renewed.fence, renewed.expires) == (1, 20_000)
    other = take_lease(store, "leader", "two", life_ms=15_000, now=20_000)
    assert isinstance(other, Lease)
    assert other.fence == 2
    late = store.transact([renewed.condition], [Put("written", b"too late")])
    assert isinstance(late, Conflict), "a holder that lost its lease unnoticed must not write"
    assert not give_back(store, renewed)
    assert give_back(store, other)
    assert isinstance(take_lease(store, "leader", "one", life_ms=1, now=20_001), Lease)


KEYS = st.sampled_from(["a", "a/b", "b", "c"])
OPERATIONS = st.one_of(st.builds(Put, KEYS, st.binary(max_size=3)), st.builds(Delete, KEYS))
CONDITIONS = st.one_of(st.builds(Unchanged, KEYS, st.integers(0, 5)), st.builds(Exists, KEYS))
TRANSACTIONS = st.lists(
    st.tuples(st.lists(CONDITIONS, max_size=1), st.lists(OPERATIONS, max_size=3)), min_size=1, max_size=12
)


@settings(max_examples=40, deadline=None)
@given(transactions=TRANSACTIONS, after=st.integers(0, 8))
def test_all_stores_agree(
    tmp_path_factory: pytest.TempPathFactory,
    transactions: list[tuple[list[Unchanged | Exists], list[Operation]]],
    after: int,
) -> None:
    sqlite = SqliteStore(tmp_path_factory.mktemp("agree") / "store.db", Clock())
    memory = MemoryStore()
    for conditions, operations in transactions:
        assert sqlite.transact(conditions, operations) == memory.transact(conditions, operations)
    assert sqlite.scan("") == memory.scan("")
    assert sqlite.scan("a") == memory.scan("a")
    assert sqlite.watch("a", after) == memory.watch("a", after)
    sqlite.close()
