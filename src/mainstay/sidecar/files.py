"""Files that configuration names: certificates, keys, sources. Read when asked for, and watched from then on.

In: paths, by who needs them. Out: keys of those whose files have changed. Invariants: a file is looked at (size, time, inode,
through symbolic links) before it is read, so no change is missed in between; a change counts once two looks in a row agree, so
that what is still being written, or half of a pair, is not taken. Polled: what an orchestrator swaps below a link is seen as
well. No clock of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

import msgspec

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Certificates are far smaller; endpoints of a large mesh fit."""
POLL_MS = 500

Stamp = tuple[int, ...]


class _Watched(msgspec.Struct):
    paths: tuple[str, ...]
    taken: dict[str, Stamp | None]
    """As what they were last read."""
    seen: dict[str, Stamp | None]
    """As what they were last looked at."""


class Disk:
    """Files of the machine; relative paths are seen from `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, path: str) -> bytes:
        with (self._directory / path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"{path} has more than {MAX_FILE_BYTES} bytes")
        return data

    def stamp(self, path: str) -> Stamp | None:
        """What changes when the file does; `None` if it is not there."""
        try:
            found = os.stat(self._directory / path)
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


class Files:
    """See the module. `read`, `stamp`: those of a `Disk`."""

    def __init__(self, read: Callable[[str], bytes], stamp: Callable[[str], Stamp | None]) -> None:
        self._read = read
        self._stamp = stamp
        self._stamps: dict[str, Stamp | None] = {}
        """As what each file was last read."""
        self._watched: dict[Hashable, _Watched] = {}
        self._next: int | None = None

    def read(self, path: str) -> bytes:
        """Raises OSError, or ValueError for one that is too large."""
        self._stamps[path] = self._stamp(path)
        return self._read(path)

    def follow(self, key: Hashable, paths: Iterable[str], now: int) -> None:
        """`due` names `key` once one of these differs from what was read. What has never been read is due soon."""
        found = tuple(paths)
        taken = {path: self._stamps.get(path, ()) for path in found}
        self._watched[key] = _Watched(found, taken, dict(taken))
        if self._next is None:
            self._next = now + POLL_MS

    def forget(self, key: Hashable) -> None:
        self._watched.pop(key, None)
        if not self._watched:
            self._next = None

    def next_deadline(self) -> int | None:
        return self._next

    def due(self, now: int) -> list[Hashable]:
        """Keys whose files have changed and are at rest; each is told once, until it is followed anew."""
        if self._next is None or now < self._next:
            return []
        self._next = now + POLL_MS
        looks: dict[str, Stamp | None] = {}
        due = []
        for key, watched in self._watched.items():
            for path in watched.paths:
                if path not in looks:
                    looks[path] = self._stamp(path)
            seen = {path: looks[path] for path in watched.paths}
            if seen == watched.seen and seen != watched.taken:
                watched.taken = seen
                due.append(key)
            watched.seen = seen
        self._stamps = {path: stamp for path, stamp in self._stamps.items() if path in looks}
        return due
