"""The audit trail: who did what to which object, with what result; one JSON line each, chained by digest.

In: writes, issuances, refusals. Out: lines of a 0600 file. Invariant: each line carries the digest of itself and the line
before, so that a line that was changed, taken out or put in shows (`verify_trail`); cutting off the end does not, which is
why the newest digest is logged at every start. Secrets are never given to it. Written by admission, join and the xDS
streams; a trail that cannot be written is an error that ends the write that asked for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from mainstay.model.digest import digest_of_bytes
from mainstay.settings import OperatorError

FIRST = "0" * 24
MAX_LINE_BYTES = 16 * 1024


class AuditRecord(msgspec.Struct, frozen=True):
    """`time` is Unix ms; `who` an identity, an address or `credential`; `revision` the store's, 0 if it has none."""

    time: int
    who: str
    action: str
    object: str
    result: str
    revision: int = 0
    before: str = FIRST
    digest: str = ""


class AuditTrail:
    """See the module. `time_of_day` gives Unix ms. Safe to call from several threads."""

    def __init__(self, path: Path, time_of_day: Callable[[], int]) -> None:
        self._time_of_day = time_of_day
        self._lock = threading.Lock()
        try:
            self._last = _last_digest(path)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "ab", buffering=0)
        except OSError as error:
            raise OperatorError(f"cannot use the audit trail {path}: {error.strerror}") from None
        except ValueError as error:
            raise OperatorError(f"cannot use the audit trail {path}: {error}") from None

    @property
    def newest(self) -> str:
        """The digest of the newest line."""
        return self._last

    def write(self, who: str, action: str, object: str, result: str, revision: int = 0) -> None:
        """Adds a line. Raises OSError if the disk does not take it."""
        with self._lock:
            record = AuditRecord(
                self._time_of_day(), _cut(who), action, _cut(object), _cut(result), revision, self._last
            )
            record = msgspec.structs.replace(record, digest=_digest(record))
            self._file.write(msgspec.json.encode(record) + b"\n")
            self._last = record.digest

    def close(self) -> None:
        self._file.close()


def verify_trail(path: Path) -> str:
    """Reads a whole trail; empty if the chain holds, else which line breaks it and how."""
    before = FIRST
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record = msgspec.json.decode(line, type=AuditRecord)
            except msgspec.MsgspecError as error:
                return f"line {number} is no record: {error}"
            if record.before != before:
                return f"line {number} does not follow the line before: one was taken out, put in or changed"
            if record.digest != _digest(record):
                return f"line {number} was changed"
            before = record.digest
    return ""


def _digest(record: AuditRecord) -> str:
    return digest_of_bytes(msgspec.json.encode(msgspec.structs.replace(record, digest=""))).hex()


def _cut(text: str) -> str:
    return text if len(text) <= 1_000 else text[:1_000] + "…"


def _last_digest(path: Path) -> str:
    """The digest of the newest whole line. A torn last line (power loss) is ended, so that what follows can be read."""
    if not path.exists() or path.stat().st_size == 0:
        return FIRST
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * MAX_LINE_BYTES))
        tail = file.read()
        if not tail.endswith(b"\n"):
            whole = tail.rfind(b"\n") + 1
            file.truncate(size - (len(tail) - whole))
            tail = tail[:whole]
    lines = tail.splitlines()
    if not lines:
        return FIRST
    try:
        return msgspec.json.decode(lines[-1], type=AuditRecord).digest
    except msgspec.MsgspecError as error:
        raise ValueError(
            f"its last line is no record ({error}); move the file away to begin a new trail"
        ) from None
