"""The control plane's face of `mainstay.api`: from texts to objects, from objects to facts, and the references between them.

In: text and file name, JSON of the store, sets of objects. Out: `Written` objects with problems by line, facts, dangling
references. Invariant: nothing here depends on a kind; the table of kinds says everything. Called by admission, the
sources' parsers, REST and the graph.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from typing import Any

import msgspec

from mainstay.api.decode import decode
from mainstay.api.document import read
from mainstay.api.encode import encode
from mainstay.api.kind import Defaults, Fact, Kind, ObjectIndex
from mainstay.api.kinds import KINDS, kind_of
from mainstay.api.object import Object
from mainstay.control.objects import ObjectId, Record
from mainstay.graph import Refused
from mainstay.model.problem import Problem
from mainstay.model.service import Service
from mainstay.protocols.kind import KIND as PROTOCOL
from mainstay.protocols.kind import shipped_protocols

SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
"""Metadata that the server writes: taken from what is read back, never stored."""


class Written(msgspec.Struct, frozen=True):
    """An object somebody wants to write, and where they wrote it."""

    id: ObjectId
    object: Object
    file: str = ""
    line: int = 0


def id_of(thing: Object) -> ObjectId:
    return ObjectId(thing.kind.group, thing.kind.name, thing.namespace, thing.name)


def list_kinds() -> list[Kind]:
    """Kinds that the control plane keeps, by plural."""
    return sorted((kind for kind in KINDS if kind.stored), key=lambda kind: kind.plural)


def find_kind(group: str, version: str, plural: str) -> Kind | None:
    """The kind behind a REST path."""
    return next(
        (k for k in KINDS if k.stored and k.plural == plural and k.group == group and version in k.versions),
        None,
    )


def read_objects(text: str, file: str, namespace: str) -> tuple[list[Written], list[Problem]]:
    """All objects of a text, and every problem. `namespace` is for objects that name none. JSON is YAML enough."""
    documents, problems = read(text, file)
    found: list[Written] = []
    for document in documents:
        kind = kind_of(document)
        if not isinstance(kind, Kind):
            problems.extend(kind)
            continue
        decoded = decode(document, kind, namespace)
        if isinstance(decoded, Object):
            found.append(Written(id_of(decoded), decoded, file, document.root.line))
        else:
            problems.extend(decoded)
    return found, problems


def show_plain(thing: Object) -> dict[str, Any]:
    """The object as JSON values, secrets masked, without what the server fills in."""
    shown = encode(thing)
    shown["metadata"] = {
        name: value for name, value in shown["metadata"].items() if name not in SERVER_FIELDS
    }
    return shown


def reveal(thing: Object) -> bytes:
    """The object with its secrets, for sealing only; empty if it has none."""
    plain, revealed = encode(thing), encode(thing, reveal_secrets=True)
    return b"" if plain == revealed else json.dumps(revealed).encode()


def decode_record(record: Record, created: str, opened: bytes) -> Object | list[Problem]:
    """The object of a record: `created` is its RFC 3339 time, `opened` its unsealed text if it holds secrets."""
    plain: dict[str, Any] = json.loads(opened) if opened else dict(record.object)
    plain["metadata"] = {**plain["metadata"], "creationTimestamp": created}
    documents, problems = read(json.dumps(plain), record.file, "json")
    if problems:
        return problems
    kind = kind_of(documents[0])
    return decode(documents[0], kind) if isinstance(kind, Kind) else kind


def translate(thing: Object, defaults: Defaults) -> tuple[Fact, ...] | Refused:
    """The facts an object becomes."""
    made = thing.kind.translate(thing, defaults)
    problems = tuple(each for each in made if isinstance(each, Problem))
    return Refused(problems) if problems else tuple(each for each in made if not isinstance(each, Problem))


class References:
    """Implements `mainstay.api.kind.Lookup` over a set of objects; services are those the objects translate to, and
    `others` from registries."""

    def __init__(
        self, objects: Mapping[ObjectId, Object], defaults: Defaults, others: Iterable[Service] = ()
    ) -> None:
        self._objects = objects
        self._defaults = defaults
        self._others = tuple(others)
        self._by_kind: dict[str, list[Object]] | None = None
        self._services: dict[str, list[Service]] | None = None
        self._indexes: dict[ObjectIndex, dict[Hashable, list[Object]]] = {}

    @property
    def defaults(self) -> Defaults:
        return self._defaults

    def objects(self, kind: str) -> Iterable[Object]:
        if self._by_kind is None:
            self._by_kind = {}
            for each, thing in sorted(self._objects.items(), key=lambda item: item[0]):
                self._by_kind.setdefault(each.kind, []).append(thing)
        return self._by_kind.get(kind, [])

    def find(self, index: ObjectIndex, key: Hashable) -> Sequence[Object]:
        built = self._indexes.get(index)
        if built is None:
            built = self._indexes[index] = {}
            for thing in self.objects(index.kind):
                for each in index.keys_of(thing, self._defaults):
                    built.setdefault(each, []).append(thing)
        return built.get(key, ())

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        group = _group_of_kind().get(kind, "")
        return self._objects.get(ObjectId(group, kind, namespace, name))

    def services(self, host: str) -> Iterable[Service]:
        return self._all().get(host, [])

    def all_services(self) -> Iterable[Service]:
        return [service for services in self._all().values() for service in services]

    def protocols(self) -> Set[str]:
        names = {protocol.name for protocol in shipped_protocols()}
        return names | {thing.name for thing in self.objects(PROTOCOL.name)}

    def _all(self) -> dict[str, list[Service]]:
        if self._services is None:
            self._services = {}
            found = list(self._others)
            for thing in self._objects.values():
                if not thing.kind.makes_services:
                    continue
                made = translate(thing, self._defaults)
                found.extend(
                    () if isinstance(made, Refused) else (each for each in made if isinstance(each, Service))
                )
            for service in sorted(found, key=lambda service: service.key):
                self._services.setdefault(service.key.host, []).append(service)
        return self._services


def check_references(references: References, objects: Iterable[Object]) -> list[Problem]:
    """What dangles or conflicts among `objects`, seen with all that exists."""
    return [problem for thing in objects for problem in thing.kind.check(thing, references)]


def _group_of_kind() -> dict[str, str]:
    return {kind.name: kind.group for kind in KINDS}
