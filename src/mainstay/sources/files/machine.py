"""What changed in a directory of configuration files, without I/O.

In: listings (path → stamp) and files' contents. Out: which files to read, then one batch. Invariants: after a
batch the facts are those of the directory's readable objects; an object that cannot be taken keeps its last
good fact while its file has it; of two objects with one key the one in the first path counts, and the other
is told so. Run by `poll`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import msgspec

from mainstay.model.digest import digest_of_bytes
from mainstay.model.problem import Problem
from mainstay.sources.contract import Batch, Change, Refuse, Remove, Upsert

SETTLE_MS = 2_000
"""A file younger than this when read is read again: file times are coarse, and a second write may not
show."""


class Stamp(msgspec.Struct, frozen=True):
    """`modified` is in ms of the day, as the file system tells it."""

    modified: int
    size: int
    inode: int


class Parsed(msgspec.Struct, frozen=True):
    """What a file holds: facts by key, and problems. `refused` are keys that stand in the file and cannot be
    taken; `whole` is False if the file could not be read to its end, so that missing keys mean nothing."""

    facts: dict[Hashable, Any]
    refused: frozenset[Hashable] = frozenset()
    problems: tuple[Problem, ...] = ()
    whole: bool = True


ParseFile = Callable[[str, bytes], Parsed]
"""`parse(path, content)`; never raises for what a file may hold."""


class _File:
    __slots__ = ("digest", "facts", "problems", "read_at", "stamp")

    def __init__(self) -> None:
        self.stamp: Stamp | None = None
        self.read_at = 0
        self.digest = b""
        self.facts: dict[Hashable, Any] = {}
        self.problems: tuple[Problem, ...] = ()


class FilesMachine:
    """See the module. `parse` must keep keys' text (`str(key)`) as their authors know them: problems show
    it."""

    def __init__(self, source: str, parse: ParseFile) -> None:
        self._source = source
        self._parse = parse
        self._files: dict[str, _File] = {}
        self._sent: dict[Hashable, tuple[Any, str]] = {}
        self._told: dict[str, tuple[Problem, ...]] = {}
        self._epoch: int | None = None

    def look(self, listing: Mapping[str, Stamp]) -> list[str]:
        """Which files have to be read now, in order."""
        wanted = []
        for path, stamp in sorted(listing.items()):
            file = self._files.get(path)
            if file is None or file.stamp != stamp or file.read_at - stamp.modified < SETTLE_MS:
                wanted.append(path)
        return wanted

    def take(
        self,
        listing: Mapping[str, Stamp],
        contents: Mapping[str, bytes | OSError],
        time_of_day: int,
        epoch: int,
    ) -> Batch | None:
        """The batch that follows from what was read, None if nothing changed. `time_of_day` is in ms, like
        stamps. The first batch of an epoch repeats everything and is `synced`."""
        for path in self._files.keys() - listing.keys():
            del self._files[path]
        for path, content in sorted(contents.items()):
            file = self._files.setdefault(path, _File())
            if isinstance(content, OSError):
                # Perhaps gone or replaced meanwhile: the next listing decides; known facts stay.
                file.stamp, file.digest = None, b""
                file.problems = (_describe_unreadable(path, content),)
                continue
            file.stamp, file.read_at = listing[path], time_of_day
            digest = digest_of_bytes(content)
            if digest != file.digest:
                file.digest = digest
                self._read(path, file, content)
        return self._compose(epoch)

    def _read(self, path: str, file: _File, content: bytes) -> None:
        parsed = self._parse(path, content)
        facts = dict(parsed.facts)
        for key, fact in file.facts.items():
            if key not in facts and (key in parsed.refused or not parsed.whole):
                facts[key] = fact
        file.facts, file.problems = facts, parsed.problems

    def _compose(self, epoch: int) -> Batch | None:
        fresh = epoch != self._epoch
        self._epoch = epoch
        facts: dict[Hashable, tuple[Any, str]] = {}
        problems: dict[str, list[Problem]] = {}
        for path, file in sorted(self._files.items()):
            problems[path] = list(file.problems)
            for key, fact in file.facts.items():
                first = facts.setdefault(key, (fact, path))
                if first[1] != path:
                    problems[path].append(_describe_clash(key, path, first[1]))
        changes: list[Change] = []
        for key, (fact, path) in facts.items():
            before = self._sent.get(key)
            if fresh or before is None or before[0] != fact:
                changes.append(Upsert(key, fact, f"{key} in {path}"))
        changes.extend(
            Remove(key, f"{key} in {path}") for key, (_, path) in self._sent.items() if key not in facts
        )
        told = {path: tuple(found) for path, found in problems.items() if found}
        for path in sorted(self._told.keys() | told.keys()):
            now = told.get(path, ())
            if now != self._told.get(path, ()) or (fresh and now):
                changes.append(Refuse(path, now))
        self._sent, self._told = facts, told
        if not changes and not fresh:
            return None
        return Batch(self._source, epoch, tuple(changes), synced=fresh)


def _describe_unreadable(path: str, error: OSError) -> Problem:
    reason = f"cannot be read: {error.strerror or error}"
    return Problem(
        "MS3001", "error", path, reason, "Let the control plane's user read it, or remove it", file=path
    )


def _describe_clash(key: Hashable, path: str, first: str) -> Problem:
    reason = f"is defined in {first} already; that definition counts"
    return Problem("MS3002", "error", str(key), reason, "Keep one of the two", file=path)
