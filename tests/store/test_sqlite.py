"""What only a file can do: survive, migrate, fill up, age."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from mainstay.store import Compacted, Entry, Put, SqliteStore, StoreError, StoreFullError


class Clock:
    now = 1_000_000

    def __call__(self) -> int:
        return self.now


def test_entries_and_log_survive_the_process(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", Clock())
    store.transact([], [Put("a", b"1")])
    store.close()
    again = SqliteStore(tmp_path / "store.db", Clock())
    assert again.get("a") == Entry("a", b"1", 1, 1)
    assert again.watch("", after=0) != ()
    again.close()


def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", Clock())
    store.transact([], [Put("a", b"1")])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(modes, 0o600)
    assert "store.db-wal" in modes
    store.close()


def test_newer_file_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"newer Mainstay .*Use that version"):
        SqliteStore(tmp_path / "store.db", Clock())


def test_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot open the store .*missing/store\.db"):
        SqliteStore(tmp_path / "missing" / "store.db", Clock())


def test_full_disk_refuses_the_write_and_keeps_reading(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", Clock())
    store.transact([], [Put("a", b"1")])
    store.close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    limited = SqliteStore(tmp_path / "store.db", Clock(), page_limit=pages)
    with pytest.raises(StoreFullError, match="free some"):
        limited.transact([], [Put("big", b"x" * 100_000)])
    assert limited.get("a") == Entry("a", b"1", 1, 1)
    assert limited.get("big") is None
    assert limited.transact([], [Put("a", b"2")]) == 2, "small writes still fit, and revisions have no hole"
    limited.close()


def test_old_log_is_trimmed_by_count_and_age(tmp_path: Path) -> None:
    clock = Clock()
    store = SqliteStore(tmp_path / "store.db", clock, log_revisions=10)
    for number in range(30):
        store.transact([], [Put("a", b"%d" % number)])
    assert not isinstance(store.watch("", after=0), Compacted), "young revisions stay, however many"
    clock.now += 3_600_001
    for number in range(10):
        store.transact([], [Put("a", b"%d" % number)])
    assert store.watch("", after=0) == Compacted(30)
    store.close()


def test_backup_is_a_store_of_its_own(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", Clock())
    store.transact([], [Put("a", b"1")])
    store.back_up(tmp_path / "copy.db")
    store.close()
    copy = SqliteStore(tmp_path / "copy.db", Clock())
    assert copy.get("a") == Entry("a", b"1", 1, 1)
    copy.close()
