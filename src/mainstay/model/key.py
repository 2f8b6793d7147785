"""What facts are found by.

In: names as authors wrote them, already qualified. Out: small hashable, ordered keys. Invariant: a host is a lower-case
fully qualified name without a trailing dot; short names were resolved by the dialect that read them.
"""

import msgspec

Labels = tuple[tuple[str, str], ...]
"""Label pairs sorted by name; the canonical form of a mapping."""

Visibility = tuple[str, ...]
"""Namespaces that may see an object, sorted: ``("*",)`` everyone, ``()`` nobody (Istio's ``exportTo``; ``.`` is
resolved by the dialect)."""

EVERYWHERE: Visibility = ("*",)

MESH = "mesh"
"""The audience of routes that sidecars apply (Istio's reserved gateway name)."""


class ObjectKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """Any named object: namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ServiceKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """A service: its namespace and its host, e.g. ``shop`` and ``reviews.shop.svc.cluster.local``."""

    namespace: str
    host: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.host}"


class WorkloadKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """A workload instance: its namespace and its name, unique among connected sidecars and WorkloadEntries."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class EndpointSetKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """The endpoints that one source brings for one port (its number) of a service."""

    service: ServiceKey
    port: int
    source: str


class NamedTargetKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """A target the proxy resolves itself: service, port number, source, host name to resolve."""

    service: ServiceKey
    port: int
    source: str
    host: str


class RouteTableKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """Rules one object gives for one host (may start with ``*.`` or be ``*``) towards one audience (``mesh`` or
    ``namespace/name`` of a gateway)."""

    host: str
    audience: str
    owner: ObjectKey


class PolicyKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """A policy: kind as in its API (``PeerAuthentication``), namespace, name."""

    kind: str
    namespace: str
    name: str


def labels_of(mapping: dict[str, str]) -> Labels:
    """Return the canonical form of a label mapping."""
    return tuple(sorted(mapping.items()))


def selects(selector: Labels, labels: Labels) -> bool:
    """Tell whether every pair of ``selector`` is among ``labels``; an empty selector selects everything."""
    return not selector or set(selector) <= set(labels)


def is_visible(visible_to: Visibility, namespace: str) -> bool:
    """Tell whether an object exported to ``visible_to`` may be seen from ``namespace``."""
    return "*" in visible_to or namespace in visible_to
