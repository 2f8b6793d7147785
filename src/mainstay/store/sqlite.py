"""The embedded default: one SQLite file in WAL mode.

In, out and invariants: `contract`. One writer thread takes what waits and commits it together (a group commit
costs one fsync); each transaction still happens whole, alone, and in order: one that fails is rolled back to
its savepoint. Readers never wait for the writer. A write returns when it is on disk (`synchronous=FULL`).
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from mainstay.store.contract import (
    LOG_AGE_MS,
    LOG_REVISIONS,
    PAGE_ENTRIES,
    Compacted,
    Condition,
    Conflict,
    Entry,
    Event,
    Operation,
    Page,
    Put,
    StoreError,
    StoreFullError,
    Unchanged,
    check_transaction,
)
from mainstay.store.migrate import back_up, migrate
from mainstay.telemetry.log import get_log

log = get_log("store")

GROUP_TRANSACTIONS = 256
"""Most transactions committed together: bounds how long the first of them waits."""

TRIM_EVERY = 1_000
"""Revisions between two looks at the age of the log."""

BUSY_MS = 5_000
"""How long a write waits for another process that holds the file's write lock."""

Write = tuple[Sequence[Condition], Sequence[Operation], "Future[int | Conflict]"]


class SqliteStore:
    """Implements `Store`. `clock` gives the time of day in ms, for the age of the log; `page_limit` bounds
    the file (pages of 4 KiB)."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], int],
        log_revisions: int = LOG_REVISIONS,
        page_limit: int | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._log_revisions = log_revisions
        self._writes: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._told: list[Callable[[int], None]] = []
        self._closed = threading.Event()
        self._read_lock = threading.Lock()
        self._trimmed_at = 0
        self._page_limit = page_limit
        try:
            path.touch(mode=0o600)  # SQLite gives its -wal and -shm files the mode of the file itself
            path.chmod(0o600)
            self._reader = _connect(path)
            migrate(self._reader, path)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"cannot open the store {path}: {error}. Check the directory and its owner."
            ) from error
        self._writer = threading.Thread(target=self._write_all, name="store-writer", daemon=True)
        self._writer.start()

    def revision(self) -> int:
        return self._number("revision")

    def get(self, key: str) -> Entry | None:
        rows = self._read("SELECT key, value, created, revision FROM entry WHERE key = ?", (key,))
        return Entry(*rows[0]) if rows else None

    def scan(self, prefix: str, start: str = "", limit: int = PAGE_ENTRIES) -> Page:
        first, end = max(prefix, start), _after_prefix(prefix)
        with self._read_lock:
            self._must_be_open()
            self._reader.execute("BEGIN")  # one snapshot for the entries and their revision
            try:
                rows = self._reader.execute(
                    "SELECT key, value, created, revision FROM entry "
                    "WHERE key >= ? AND (? IS NULL OR key < ?) ORDER BY key LIMIT ?",
                    (first, end, end, limit + 1),
                ).fetchall()
                revision = self._reader.execute(
                    "SELECT number FROM about WHERE name = 'revision'"
                ).fetchone()[0]
            finally:
                self._reader.execute("COMMIT")
        next_key = rows[limit][0] if len(rows) > limit else None
        return Page(tuple(Entry(*row) for row in rows[:limit]), revision, next_key)

    def transact(self, conditions: Sequence[Condition], operations: Sequence[Operation]) -> int | Conflict:
        check_transaction(operations)
        self._must_be_open()
        done: Future[int | Conflict] = Future()
        self._writes.put((conditions, operations, done))
        return done.result()

    def watch(self, prefix: str, after: int, limit: int = PAGE_ENTRIES) -> tuple[Event, ...] | Compacted:
        compacted = self._number("compacted")
        if after < compacted:
            return Compacted(compacted)
        end = _after_prefix(prefix)
        query = (
            "SELECT key, value, revision FROM log WHERE revision {} AND key >= ? AND (? IS NULL OR key < ?) "
            "ORDER BY revision, key LIMIT ?"
        )
        rows = self._read(query.format("> ?"), (after, prefix, end, end, limit))
        if len(rows) == limit:  # the last transaction may be cut: read it whole
            last = rows[-1][2]
            whole = self._read(query.format("= ?"), (last, prefix, end, end, -1))
            rows = [row for row in rows if row[2] != last] + whole
        return tuple(Event(*row) for row in rows)

    def on_commit(self, told: Callable[[int], None]) -> Callable[[], None]:
        self._told.append(told)
        return lambda: self._told.remove(told)

    def compact(self, revision: int) -> None:
        self._must_be_open()
        with _connect(self._path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            _forget(connection, revision)
            connection.execute("COMMIT")
        connection.close()

    def back_up(self, target: Path) -> None:
        """Copies the store while it is in use."""
        self._must_be_open()
        connection = _connect(self._path)
        back_up(connection, target)
        connection.close()

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._writes.put(None)
            self._writer.join()
            with self._read_lock:
                self._reader.close()

    def _write_all(self) -> None:
        connection = _connect(self._path)
        if self._page_limit is not None:
            connection.execute(f"PRAGMA max_page_count = {self._page_limit}")
        ending = False
        while not ending:
            group: list[Write] = []
            taken = self._writes.get()
            while taken is not None:
                group.append(taken)
                if len(group) >= GROUP_TRANSACTIONS or self._writes.empty():
                    break
                taken = self._writes.get()
            ending = taken is None
            if group:
                self._commit(connection, group)
        connection.close()

    def _commit(self, connection: sqlite3.Connection, group: list[Write]) -> None:
        results: list[int | Conflict] = []
        before = 0
        try:
            connection.execute("BEGIN IMMEDIATE")
            before = revision = _read_number(connection, "revision")
            for conditions, operations, _ in group:
                result = _apply(connection, conditions, operations, revision, self._clock())
                results.append(result)
                revision = result if isinstance(result, int) else revision
            connection.execute("UPDATE about SET number = ? WHERE name = 'revision'", (revision,))
            self._trim(connection, revision)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(connection)
            if len(group) > 1:
                for write in group:
                    self._commit(connection, [write])
                return
            failure = _explain(error, self._path)
            log.error("write failed", transactions=len(group), reason=error)
            for _, _, done in group:
                done.set_exception(failure)
            return
        for told in list(self._told) if revision != before else ():
            told(revision)
        for (_, _, done), result in zip(group, results, strict=True):
            done.set_result(result)

    def _trim(self, connection: sqlite3.Connection, revision: int) -> None:
        if revision - self._trimmed_at < min(TRIM_EVERY, self._log_revisions):
            return
        self._trimmed_at = revision
        old = connection.execute(
            "SELECT max(revision) FROM log WHERE revision <= ? AND time <= ?",
            (revision - self._log_revisions, self._clock() - LOG_AGE_MS),
        ).fetchone()[0]
        if old is not None:
            _forget(connection, old)

    def _read(self, query: str, arguments: Sequence[object]) -> list[Any]:
        with self._read_lock:
            self._must_be_open()
            return self._reader.execute(query, arguments).fetchall()

    def _number(self, name: str) -> int:
        with self._read_lock:
            self._must_be_open()
            return _read_number(self._reader, name)

    def _must_be_open(self) -> None:
        if self._closed.is_set():
            raise StoreError("the store is closed")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _read_number(connection: sqlite3.Connection, name: str) -> int:
    number: int = connection.execute("SELECT number FROM about WHERE name = ?", (name,)).fetchone()[0]
    return number


def _apply(
    connection: sqlite3.Connection,
    conditions: Sequence[Condition],
    operations: Sequence[Operation],
    current: int,
    now: int,
) -> int | Conflict:
    for condition in conditions:
        row = connection.execute("SELECT revision FROM entry WHERE key = ?", (condition.key,)).fetchone()
        found = row[0] if row else 0
        if (condition.revision != found) if isinstance(condition, Unchanged) else not row:
            return Conflict(condition.key, found)
    revision = current + 1
    changed = False
    for key, operation in {operation.key: operation for operation in operations}.items():
        if isinstance(operation, Put):
            connection.execute(
                "INSERT INTO entry VALUES (?1, ?2, ?3, ?3) "
                "ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3",
                (key, operation.value, revision),
            )
            value: bytes | None = operation.value
        elif connection.execute("DELETE FROM entry WHERE key = ?", (key,)).rowcount:
            value = None
        else:
            continue
        connection.execute("INSERT INTO log VALUES (?, ?, ?, ?)", (revision, key, value, now))
        changed = True
    return revision if changed else current


def _forget(connection: sqlite3.Connection, revision: int) -> None:
    revision = min(revision, _read_number(connection, "revision"))
    connection.execute("DELETE FROM log WHERE revision <= ?", (revision,))
    connection.execute("UPDATE about SET number = max(number, ?) WHERE name = 'compacted'", (revision,))


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _explain(error: sqlite3.Error, path: Path) -> StoreError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return StoreFullError(f"no space left for {path}: free some, the write can then be repeated")
    return StoreError(f"cannot write {path}: {error}")


def _after_prefix(prefix: str) -> str | None:
    """The first string after all that begin with `prefix`; None if there is no such bound."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else None
