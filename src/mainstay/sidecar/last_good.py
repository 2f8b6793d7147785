"""The last good configuration on disk: what a restarted sidecar serves before it has reached a control plane.

In: resources as they came over xDS, once they are in force. Out: the same after a restart. Files: `resources` and, apart,
`secrets`, both mode 0600 in a directory of 0700; append-only records (length, check digest, MessagePack), rewritten when more
than half is dead. Invariants: after a crash at any byte a file reads as some earlier state (a torn tail is cut off); what could
not be written is kept in memory, so that the disk never decides what is served. Bodies are not kept in memory otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from mainstay.model.digest import DIGEST_BYTES, digest_of_bytes
from mainstay.telemetry.log import get_log

SECRET_MESSAGE = "envoy.extensions.transport_sockets.tls.v3.Secret"
MAGIC = b"mainstay last good 1\n"
COMPACT_ABOVE = 64 * 1024
"""Smaller files are not worth rewriting."""
MAX_RECORD = 64 * 1024 * 1024

_HEAD = 4 + DIGEST_BYTES
_log = get_log("sidecar.last_good")


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A resource: full name of its message, name, the server's version, bytes. `body` None: it is gone."""

    message: str
    name: str
    version: str
    body: bytes | None

    def __repr__(self) -> str:
        return f"Record({self.message}, {self.name}, {self.version})"


class _Place(msgspec.Struct, frozen=True, gc=False):
    start: int
    size: int


Key = tuple[str, str]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


def encode_record(record: Record) -> bytes:
    body = _encode(record)
    return len(body).to_bytes(4, "big") + digest_of_bytes(body) + body


def read_records(data: bytes) -> Iterator[tuple[Record, int, int]]:
    """Records with start and size, up to the first that is torn or false."""
    at = len(MAGIC)
    if not data.startswith(MAGIC):
        return
    while at + _HEAD <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        body = data[at + _HEAD : at + _HEAD + size]
        if size > MAX_RECORD or len(body) < size or digest_of_bytes(body) != data[at + 4 : at + _HEAD]:
            return
        try:
            record = _decode(body)
        except msgspec.DecodeError:
            return
        yield record, at, _HEAD + size
        at += _HEAD + size


class RecordFile:
    """One append-only file. Not written to before `load`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[Key, _Place] = {}
        self._end = 0
        self._live = 0

    def load(self) -> list[Record]:
        """All live records in the order in which they were written; cuts off what a crash left torn."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = self._path.read_bytes() if self._path.exists() else b""
        live: dict[Key, Record] = {}
        self._places, self._end = {}, len(MAGIC)
        for record, start, size in read_records(data):
            key = (record.message, record.name)
            live.pop(key, None)
            self._places.pop(key, None)
            if record.body is not None:
                live[key] = record
                self._places[key] = _Place(start, size)
            self._end = start + size
        self._live = sum(place.size for place in self._places.values())
        if not data.startswith(MAGIC):
            self._replace(MAGIC)
        elif self._end < len(data):
            _log.warning("cut off a torn record", file=self._path, bytes=len(data) - self._end)
            os.truncate(self._path, self._end)
        return list(live.values())

    def append(self, records: Iterable[Record]) -> None:
        """Adds records; raises OSError if they could not be written whole (the file then stands as before)."""
        chunks: list[bytes] = []
        places: list[tuple[Key, _Place | None]] = []
        at = self._end
        for record in records:
            key = (record.message, record.name)
            if record.body is None and key not in self._places:
                continue
            chunk = encode_record(record)
            places.append((key, _Place(at, len(chunk)) if record.body is not None else None))
            chunks.append(chunk)
            at += len(chunk)
        if not chunks:
            return
        self._write(b"".join(chunks))
        self._end = at
        for key, place in places:
            before = self._places.pop(key, None)
            self._live -= before.size if before is not None else 0
            if place is not None:
                self._places[key] = place
                self._live += place.size
        if self._end > COMPACT_ABOVE and self._live < self._end / 2:
            self._compact()

    def read(self, key: Key) -> Record | None:
        """One record, from the file."""
        place = self._places.get(key)
        if place is None:
            return None
        with self._path.open("rb") as file:
            file.seek(place.start + _HEAD)
            return _decode(file.read(place.size - _HEAD))

    def keys(self) -> tuple[Key, ...]:
        return tuple(self._places)

    def _write(self, data: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(descriptor, data[written:], self._end + written)
        except OSError:
            os.ftruncate(descriptor, self._end)
            raise
        finally:
            os.close(descriptor)

    def _compact(self) -> None:
        order = sorted(self._places.items(), key=lambda entry: entry[1].start)
        with self._path.open("rb") as file:
            chunks = [MAGIC]
            places: dict[Key, _Place] = {}
            at = len(MAGIC)
            for key, place in order:
                file.seek(place.start)
                chunks.append(file.read(place.size))
                places[key] = _Place(at, place.size)
                at += place.size
        self._replace(b"".join(chunks))
        self._places, self._end = places, at

    def _replace(self, data: bytes) -> None:
        """The new file is on the disk before it takes the old one's name."""
        aside = self._path.with_suffix(".new")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._path)


class LastGood:
    """Both files as one. Outlives a brain that starts over."""

    def __init__(self, directory: Path) -> None:
        self._files = {False: RecordFile(directory / "resources"), True: RecordFile(directory / "secrets")}
        self._unwritten: dict[Key, Record] = {}

    def load(self) -> list[Record]:
        """What was in force when the last record was written, what the disk did not take included."""
        found = {
            (record.message, record.name): record for file in self._files.values() for record in file.load()
        }
        for key, record in self._unwritten.items():
            found.pop(key, None)
            if record.body is not None:
                found[key] = record
        return list(found.values())

    def write(self, records: Iterable[Record]) -> None:
        """Keeps records; one with `body` None says that the resource is gone. Never raises for the disk."""
        waiting = self._unwritten
        for record in records:
            waiting[record.message, record.name] = record
        for secret, file in self._files.items():
            mine = [record for record in waiting.values() if (record.message == SECRET_MESSAGE) == secret]
            try:
                file.append(mine)
            except OSError as error:
                _log.error("cannot write the last good configuration", reason=error, waiting=len(mine))
                continue
            for record in mine:
                del waiting[record.message, record.name]

    def read(self, message: str, name: str) -> Record | None:
        """One resource as it came, or `None`."""
        key = (message, name)
        if key in self._unwritten:
            return self._unwritten[key] if self._unwritten[key].body is not None else None
        return self._files[message == SECRET_MESSAGE].read(key)

    @property
    def unwritten(self) -> int:
        """How many records the disk has not taken."""
        return len(self._unwritten)


class NoLastGood(LastGood):
    """For a sidecar without a data directory: keeps nothing over a restart of the process, everything over one of the brain."""

    def __init__(self) -> None:
        super().__init__(Path())
        self._records: dict[Key, Record] = {}

    def load(self) -> list[Record]:
        return list(self._records.values())

    def write(self, records: Iterable[Record]) -> None:
        for record in records:
            self._records.pop((record.message, record.name), None)
            if record.body is not None:
                self._records[record.message, record.name] = record

    def read(self, message: str, name: str) -> Record | None:
        return self._records.get((message, name))
