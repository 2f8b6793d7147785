"""Numbered steps from each version of the SQLite file to the next.

In: a connection to a file of any version this program knows. Out: a file of the newest version. Invariant:
each step runs in one transaction, after a backup of the file it is about to change; a file newer than the
program is refused. Called by `sqlite` when it opens a file.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from mainstay.store.contract import StoreError

STEPS: tuple[str, ...] = (
    # 1: entries, the log watches read, and what is known of the store as a whole
    """
    CREATE TABLE entry (
        key TEXT PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL, revision INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE log (
        revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, time INTEGER NOT NULL,
        PRIMARY KEY (revision, key)
    ) WITHOUT ROWID;
    CREATE TABLE about (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO about VALUES ('revision', 0), ('compacted', 0);
    """,
)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Brings a file to the newest version. Raises `StoreError` for a file of a newer program."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(STEPS):
        raise StoreError(
            f"{path} was written by a newer Mainstay "
            f"(store version {version}, this program knows {len(STEPS)}). "
            "Use that version, or restore a backup made before the upgrade."
        )
    for number, step in enumerate(STEPS[version:], start=version + 1):
        if version:
            back_up(connection, path.with_suffix(f".v{number - 1}.backup"))
        connection.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;")


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """An online copy of the store: consistent while others write. The file is made 0600."""
    target.touch(mode=0o600)
    with sqlite3.connect(target) as copy:
        connection.backup(copy)
    copy.close()
