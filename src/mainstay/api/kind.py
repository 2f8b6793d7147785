"""What the table of kinds holds for each kind, and what its two functions are given.

In: defined by the dialects. Out: used by the decoder, ``load``, the REST API and ``publish``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence, Set
from typing import Protocol

import msgspec

from mainstay.api.define import Part
from mainstay.api.object import Object
from mainstay.model.endpoints import EndpointSet, NamedTarget
from mainstay.model.gateway import Gateway
from mainstay.model.mesh import DEFAULT_MESH, Mesh
from mainstay.model.policy import Policy
from mainstay.model.problem import Problem
from mainstay.model.route import RouteTable
from mainstay.model.rpc import RpcProtocol
from mainstay.model.scope import Scope
from mainstay.model.secret import SecretRef
from mainstay.model.service import Service
from mainstay.model.traffic import TrafficRule
from mainstay.model.workload import Workload, WorkloadGroup

Fact = (
    Service
    | EndpointSet
    | NamedTarget
    | Workload
    | WorkloadGroup
    | RouteTable
    | TrafficRule
    | Policy
    | Scope
    | Gateway
    | SecretRef
    | Mesh
    | RpcProtocol
)
"""What an object is translated into."""


class Defaults(msgspec.Struct, frozen=True):
    """What translation fills in for what an author left out. ``version`` grows when a release changes a default, so that
    stored objects keep their meaning."""

    version: int = 1
    mesh: Mesh = DEFAULT_MESH


class ObjectIndex(msgspec.Struct, frozen=True):
    """A way to find objects of a kind without looking at all of them: ``keys_of`` says under which keys one stands."""

    kind: str
    keys_of: Callable[[Object, Defaults], Iterable[Hashable]]


class Lookup(Protocol):
    """What a check may ask about everything that exists, the checked objects included."""

    @property
    def defaults(self) -> Defaults:
        """The mesh's defaults."""

    def objects(self, kind: str) -> Iterable[Object]:
        """All objects of a kind, in order of namespace and name."""

    def find(self, index: ObjectIndex, key: Hashable) -> Sequence[Object]:
        """The objects that stand under a key of an index, in order of namespace and name."""

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object of this name, or None."""

    def services(self, host: str) -> Iterable[Service]:
        """Services with exactly this host, from objects and registries."""

    def all_services(self) -> Iterable[Service]:
        """Every known service."""

    def protocols(self) -> Set[str]:
        """Names of all described protocols, of objects and of those that come with Mainstay."""


Translate = Callable[[Object, Defaults], "list[Fact] | list[Problem]"]
"""Pure. Facts, or every reason why there are none; an object that means nothing gives an empty list."""

Check = Callable[[Object, Lookup], list[Problem]]
"""Pure. References that dangle, conflicts with other objects, rules that never apply."""


class Kind(msgspec.Struct, frozen=True):
    """A row of the table. ``versions`` are one shape, newest first. ``inline``: fields stand beside ``metadata`` instead of
    under ``spec`` (Kubernetes' Secret). ``stored`` is False for files that only a program reads.
    ``makes_services``: its objects become services."""

    group: str
    versions: tuple[str, ...]
    name: str
    plural: str
    struct: type[Part]
    translate: Translate
    check: Check
    namespaced: bool = True
    inline: bool = False
    stored: bool = True
    makes_services: bool = False

    @property
    def api_version(self) -> str:
        """``group/version`` of the newest version."""
        return f"{self.group}/{self.versions[0]}"

    @property
    def documentation(self) -> str:
        """The first paragraph of the struct's docstring, on one line."""
        return " ".join((self.struct.__doc__ or "").split("\n\n")[0].split())
