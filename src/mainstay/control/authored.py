"""What users wrote, in the graph: objects of all sources, the mesh-wide settings among them, and the facts they become.

In: decoded objects by source. Out: `objects` (of several definitions the first source's counts), `mesh`, `facts`. Invariants:
an object that becomes nothing keeps its last good facts; mesh-wide settings are known before anything else is translated,
since short names are completed with them. Built by `main`; sources' changes enter by `enter`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mainstay.api.kind import Defaults, Fact
from mainstay.api.object import Object
from mainstay.control.collections import THE_MESH
from mainstay.control.dialect import translate
from mainstay.control.objects import ObjectId
from mainstay.graph import Derived, Graph, Input, Reader, Refused, build_merge
from mainstay.model.mesh import Mesh
from mainstay.model.problem import Problem
from mainstay.sources import Refuse, Remove, Taken, Upsert

MESH_SETTINGS = "MeshSettings"


class Authored:
    """See the module. `sources` are in order of precedence; `mesh` is what holds without a MeshSettings object."""

    def __init__(self, graph: Graph, sources: Sequence[str], mesh: Mesh) -> None:
        self._default = mesh
        self._refused: dict[str, dict[Any, tuple[Problem, ...]]] = {source: {} for source in sources}
        self.inputs: dict[str, Input[ObjectId, Object]] = {
            source: graph.input(f"objects of {source}") for source in sources
        }
        self.objects: Derived[ObjectId, Object] = build_merge(graph, "objects", list(self.inputs.values()))
        of_settings = graph.index(
            "mesh settings", self.objects, lambda key, _: [THE_MESH] if key.kind == MESH_SETTINGS else []
        )

        def compute_mesh(key: str, read: Reader) -> Mesh | Refused | None:
            for thing in read.by(of_settings, key):
                made = translate(thing, Defaults(mesh=mesh))
                if isinstance(made, Refused):
                    return made
                return next((fact for fact in made if isinstance(fact, Mesh)), None)
            return None

        def compute_facts(key: ObjectId, read: Reader) -> tuple[Fact, ...] | Refused | None:
            thing = read.get(self.objects, key)
            if thing is None or key.kind == MESH_SETTINGS:
                return None
            return translate(thing, Defaults(mesh=read.get(self.mesh, THE_MESH) or mesh))

        self.mesh: Derived[str, Mesh] = graph.derived(
            "mesh", compute_mesh, reads=[self.objects, of_settings], each=[of_settings], keep_last=True
        )
        self.facts: Derived[ObjectId, tuple[Fact, ...]] = graph.derived(
            "facts of objects",
            compute_facts,
            reads=[self.objects, self.mesh],
            each=[self.objects],
            keep_last=True,
        )

    def defaults(self) -> Defaults:
        """What translation and checks fill in now."""
        return Defaults(mesh=self.mesh.get(THE_MESH) or self._default)

    def enter(self, taken: Taken) -> None:
        """Puts one change of a source into the graph."""
        change = taken.change
        if isinstance(change, Upsert):
            self.inputs[taken.source].set(change.key, change.fact, taken.cause)  # type: ignore[arg-type]
        elif isinstance(change, Remove):
            self.inputs[taken.source].remove(change.key, taken.cause)  # type: ignore[arg-type]
        elif isinstance(change, Refuse) and change.problems:
            self._refused[taken.source][change.place] = change.problems
        else:
            self._refused[taken.source].pop(change.place, None)

    def problems(self) -> Iterator[Problem]:
        """What sources refused, what could not be translated, and who defines what another source defines already."""
        for refused in self._refused.values():
            for problems in refused.values():
                yield from problems
        for each in self.mesh.refused_keys():
            yield from self.mesh.problems(each)
        for key in self.facts.refused_keys():
            yield from self.facts.problems(key)
        names = list(self.inputs)
        for at, source in enumerate(names):
            for key, thing in self.inputs[source].items():
                first = next((name for name in names[:at] if self.inputs[name].get(key) is not None), None)
                if first is not None:
                    yield Problem(
                        "MS3002",
                        "error",
                        str(key),
                        f"is defined by the source {first} already; that definition counts, not that of {source}",
                        "Keep one of the two",
                        thing.document.file,
                        thing.document.root.line,
                    )
