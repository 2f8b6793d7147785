"""What users wrote, as the control plane keeps it: identities of objects, and their records in the store.

In: decoded documents. Out: store keys and bytes, and back. Invariant: a record holds canonical JSON of the
newest version beside the author's own text; the store knows nothing of it. Called by admission, the store
source and REST.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from mainstay.store import Entry

PREFIX = "objects/"


class ObjectId(msgspec.Struct, frozen=True, gc=False, order=True):
    """One object among all; `namespace` is empty for kinds without. Its text is what its author calls it and what problems
    name (`Object.label`)."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)

    @property
    def store_key(self) -> str:
        return f"{PREFIX}{self.group}/{self.kind}/{self.namespace}/{self.name}"


class Record(msgspec.Struct, frozen=True):
    """`object` is the object as plain JSON without what the server fills in; `file` and `line` say where its author had it, `text` how."""

    object: dict[str, Any]
    uid: str
    created: int
    """Unix ms."""
    generation: int
    """Grows when the object's content changes."""
    file: str = ""
    line: int = 0
    text: str = ""
    who: str = ""
    sealed: bytes = b""
    """The object with its secrets, encrypted; `object` has them masked then, and `text` is empty."""


def id_of_store_key(key: str) -> ObjectId:
    """The object of a store key under `PREFIX`."""
    group, kind, namespace, name = key.removeprefix(PREFIX).split("/")
    return ObjectId(group, kind, namespace, name)


def encode_record(record: Record) -> bytes:
    return msgspec.json.encode(record)


def decode_record(value: bytes) -> Record:
    """Raises `msgspec.MsgspecError` for what this program did not write."""
    return msgspec.json.decode(value, type=Record)


def show_object(entry: Entry, record: Record, status: dict[str, Any] | None = None) -> dict[str, Any]:
    """The object in Kubernetes' shape, with its metadata filled in."""
    shown = dict(record.object)
    shown["metadata"] = {
        **record.object.get("metadata", {}),
        "uid": record.uid,
        "resourceVersion": str(entry.revision),
        "generation": record.generation,
        "creationTimestamp": show_time(record.created),
    }
    if status is not None:
        shown["status"] = status
    return shown


def show_time(ms: int) -> str:
    """RFC 3339, UTC, seconds."""
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
