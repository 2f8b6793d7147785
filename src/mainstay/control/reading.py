"""How the sources of objects read theirs: files as authors wrote them, the store's records.

In: bytes. Out: what `mainstay.sources` expects of a parser. Invariant: never raises for what a file or the store may hold.
"""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

from mainstay.api.object import Object
from mainstay.control.admission import Vault
from mainstay.control.dialect import decode_record, read_objects
from mainstay.control.objects import Record, id_of_store_key, show_time
from mainstay.model.problem import Problem
from mainstay.sources import Change, Refuse, Remove, Upsert
from mainstay.sources.files import Parsed
from mainstay.sources.store import ReadEntry


def parse_file(namespace: str, path: str, content: bytes) -> Parsed:
    """A configuration file: all its objects; `namespace` is for those that name none."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        problem = Problem(
            "MS1001", "error", "", f"is not UTF-8 (byte {error.start})", "Save the file as UTF-8", file=path
        )
        return Parsed({}, problems=(problem,), whole=False)
    written, problems = read_objects(text, path, namespace)
    facts: dict[Hashable, Object] = {}
    twice: list[Problem] = []
    for each in written:
        first = facts.setdefault(each.id, each.object)
        if first is not each.object:
            twice.append(
                each.object.problem("MS1002", (), "is defined twice in this file", "Keep one of the two")
            )
    # An object with problems has no key here: what the file had before stays until the file is well again.
    return Parsed(facts, problems=(*problems, *twice), whole=not problems)


def read_records(vault: Vault) -> ReadEntry:
    """A reader of the store's records; sealed ones are opened with `vault`."""

    def read_entry(key: str, value: bytes | None) -> Change:
        each = id_of_store_key(key)
        if value is None:
            return Remove(each, str(each))
        try:
            record = msgspec.json.decode(value, type=Record)
            opened = vault.open(record.sealed) if record.sealed else b""
        except (msgspec.MsgspecError, ValueError) as error:
            return Refuse(each, (_unreadable(str(each), str(error)),))
        decoded = decode_record(record, show_time(record.created), opened)
        if isinstance(decoded, Object):
            return Upsert(each, decoded, str(each), record.who)
        return Refuse(each, tuple(decoded))

    return read_entry


def _unreadable(name: str, reason: str) -> Problem:
    remedy = "Apply the object again; if it was sealed, start the control plane with the key file it was sealed with"
    return Problem("MS3004", "error", name, f"its record in the store cannot be read: {reason}", remedy)
