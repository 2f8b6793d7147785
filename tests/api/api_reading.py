"""From texts to objects, facts and problems, as the control plane goes: for the API's tests."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence, Set

from mainstay.api.decode import decode
from mainstay.api.document import read
from mainstay.api.kind import Defaults, Fact, Kind, ObjectIndex
from mainstay.api.kinds import KINDS, kind_of
from mainstay.api.object import Object
from mainstay.model.problem import Problem
from mainstay.model.service import Service
from mainstay.protocols.kind import shipped_protocols

DEFAULTS = Defaults()


def read_all(
    text: str, file: str = "mesh.yaml", namespace: str = "shop"
) -> tuple[list[Object], list[Problem]]:
    """Return the decoded objects of a text, and every problem of reading and decoding."""
    documents, problems = read(text, file)
    objects: list[Object] = []
    for document in documents:
        kind = kind_of(document)
        if not isinstance(kind, Kind):
            problems += kind
            continue
        decoded = decode(document, kind, namespace)
        if isinstance(decoded, Object):
            objects.append(decoded)
        else:
            problems += decoded
    return objects, problems


def facts_of(text: str) -> list[Fact]:
    """Return the facts of a text that has no problems."""
    objects, problems = read_all(text)
    assert not problems, problems
    facts: list[Fact] = []
    for thing in objects:
        made = thing.kind.translate(thing, DEFAULTS)
        assert not any(isinstance(each, Problem) for each in made), made
        facts += [each for each in made if not isinstance(each, Problem)]
    return facts


def refusals(text: str) -> list[Problem]:
    """Return all problems of reading, decoding and translating a text."""
    objects, problems = read_all(text)
    for thing in objects:
        problems += [each for each in thing.kind.translate(thing, DEFAULTS) if isinstance(each, Problem)]
    return problems


class World:
    """All that exists, for checks: the objects of a text, and the services they become."""

    def __init__(self, text: str) -> None:
        self.all, problems = read_all(text)
        assert not problems, problems
        self.defaults = DEFAULTS
        self._services = [
            fact
            for thing in self.all
            for fact in thing.kind.translate(thing, DEFAULTS)
            if isinstance(fact, Service)
        ]

    def objects(self, kind: str) -> Iterable[Object]:
        return sorted((thing for thing in self.all if thing.kind.name == kind), key=lambda thing: thing.key)

    def find(self, index: ObjectIndex, key: Hashable) -> Sequence[Object]:
        return [thing for thing in self.objects(index.kind) if key in index.keys_of(thing, DEFAULTS)]

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return next((t for t in self.objects(kind) if (t.namespace, t.name) == (namespace, name)), None)

    def services(self, host: str) -> Iterable[Service]:
        return [service for service in self._services if service.key.host == host]

    def all_services(self) -> Iterable[Service]:
        return self._services

    def protocols(self) -> Set[str]:
        written = {thing.name for thing in self.objects("Protocol")}
        return written | {protocol.name for protocol in shipped_protocols()}


def check(text: str) -> list[Problem]:
    """Return what dangles or conflicts among the objects of a text."""
    world = World(text)
    return [problem for thing in world.all for problem in thing.kind.check(thing, world)]


def kind(name: str) -> Kind:
    """Return a kind by its name."""
    return next(each for each in KINDS if each.name == name)
