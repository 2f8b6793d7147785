"""Who is connected, what each should have, and what became of it.

In: streams that open and end, settled rounds, what the stream machines note. Out: to each stream its view and the names in
it that changed; to REST what the control plane knows of a proxy. Invariants: a proxy that no change concerns is told
nothing; nothing is told while `waiting` has a reason, and then the newest view, whole; a view shown to one stream holds
only what its identity may have. Built by `main`; everything runs on the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Protocol

from mainstay._proto import pool
from mainstay.compile.resource import MESSAGES, Kind, Resource
from mainstay.compile.traits import Proxy, Step
from mainstay.control.views import SHAPES, STEPS, Shape, Views
from mainstay.graph import Graph, Settled
from mainstay.model.problem import Problem
from mainstay.xds.server.types import KindStatus

Names = Mapping[Kind, frozenset[str]]
"""Names of resources by kind."""

PLURALS: dict[Kind, str] = {
    "cluster": "clusters",
    "endpoint": "endpoints",
    "listener": "listeners",
    "route": "routes",
    "generic_route": "generic-routes",
    "secret": "secrets",
}


class ProxyView:
    """What one proxy should have now: immutable, resources by kind and name."""

    __slots__ = ("_secrets", "_step_of", "_steps")

    def __init__(
        self,
        step_of: Mapping[Kind, Mapping[str, Step]],
        steps: Callable[[Step], Resource | None],
        secrets: Mapping[str, Resource],
    ) -> None:
        self._step_of = step_of
        self._steps = steps
        self._secrets = secrets

    def get(self, kind: Kind, name: str) -> Resource | None:
        """A resource of the view, None if it has none of that name."""
        if kind == "secret":
            return self._secrets.get(name)
        step = self.find_step(kind, name)
        return None if step is None else self._steps(step)

    def names(self, kind: Kind) -> Set[str]:
        """All names of a kind."""
        if kind == "secret":
            return self._secrets.keys()
        return self._step_of.get(kind, {}).keys()

    def find_step(self, kind: Kind, name: str) -> Step | None:
        """The compile step behind a resource."""
        return self._step_of.get(kind, {}).get(name)


class Subscriber(Protocol):
    """A stream that wants to know."""

    def view_changed(self, view: ProxyView, changed: Names) -> None:
        """The view as it is now, and which names differ from the one told before (all, the first time)."""

    def status(self) -> Mapping[Kind, KindStatus]:
        """What is applied, pending, refused, for each kind that the proxy asked for."""

    def applied(self, kind: Kind) -> Mapping[str, Any]:
        """What the proxy has taken, by name."""


class Secrets(Protocol):
    """Gateways' certificates."""

    def find(self, name: str, proxy: Proxy) -> Resource | None:
        """The secret of this SDS name, if the proxy may have it."""


class _Node:
    """One proxy with its streams."""

    __slots__ = ("proxy", "secrets", "step_of", "streams", "told", "wanted")

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.streams: dict[str, Subscriber] = {}
        self.told: set[str] = set()
        """Streams that have been told a view."""
        self.step_of: dict[Kind, dict[str, Step]] | None = None
        """None until its shape was computed."""
        self.secrets: dict[str, Resource] = {}
        self.wanted: tuple[str, ...] = ()


class Proxies:
    """See the module. `waiting()` says why nothing may be told yet, empty once it may. `now` gives ms."""

    def __init__(
        self,
        graph: Graph,
        views: Views,
        secrets: Secrets,
        waiting: Callable[[], str],
        wake: Callable[[], None],
        now: Callable[[], int],
    ) -> None:
        self._graph = graph
        self._views = views
        self._secrets = secrets
        self._waiting = waiting
        self._wake = wake
        self._now = now
        self._nodes: dict[str, _Node] = {}
        self._users: dict[Step, set[str]] = {}
        self._node_of: dict[str, str] = {}
        self._late: dict[str, None] = {}
        """Nodes that have not been told of a change because of `waiting`."""

    # --- streams --------------------------------------------------------------------------------------------------

    def open(self, stream: str, proxy: Proxy, subscriber: Subscriber) -> None:
        """A stream of a proxy is there. Its view comes with the next round, or at once if the proxy is known."""
        node = self._nodes.get(proxy.node)
        if node is None:
            node = self._nodes[proxy.node] = _Node(proxy)
            self._graph.want(self._views.shapes, proxy)
            self._take_shape(proxy.node, node)
        elif node.proxy != proxy:
            self._graph.want(self._views.shapes, proxy)
            self._graph.release(self._views.shapes, node.proxy, self._now())
            node.proxy = proxy
            self._take_shape(proxy.node, node)
        node.streams[stream] = subscriber
        self._node_of[stream] = proxy.node
        self._late[proxy.node] = None
        self._wake()

    def close(self, stream: str) -> None:
        """A stream has ended; the last one of a proxy takes its demand back."""
        name = self._node_of.pop(stream, None)
        node = self._nodes.get(name) if name is not None else None
        if name is None or node is None:
            return
        node.streams.pop(stream, None)
        node.told.discard(stream)
        if node.streams:
            return
        del self._nodes[name]
        self._late.pop(name, None)
        self._graph.release(self._views.shapes, node.proxy, self._now())
        for step in _steps_of(node.step_of or {}):
            self._forget_user(step, name)

    # --- rounds ---------------------------------------------------------------------------------------------------

    def publish(self, settled: Settled) -> bool:
        """Tells every stream that a round concerns. Returns False: it never demands another round."""
        changed: dict[str, dict[Kind, set[str]]] = {}
        reshaped: frozenset[Any] = settled.changed.get(SHAPES, frozenset())
        for name, node in self._nodes.items():
            if node.proxy in reshaped or (node.step_of is None and self._shape_of(node) is not None):
                _add(changed.setdefault(name, {}), self._take_shape(name, node))
        for step in settled.changed.get(STEPS, frozenset()):
            users = self._users.get(step)
            resource = self._views.steps.get(step) if users else None
            if users and resource is not None:
                for name in users:
                    changed.setdefault(name, {}).setdefault(resource.kind, set()).add(resource.name)
        self._tell({name: _freeze(names) for name, names in changed.items()})
        return False

    def secrets_changed(self) -> None:
        """Certificates were written or deleted: whoever may have them is told."""
        changed: dict[str, Names] = {}
        for name, node in self._nodes.items():
            found = self._take_secrets(node)
            if found:
                changed[name] = {"secret": frozenset(found)}
        self._tell(changed)

    def _tell(self, changed: Mapping[str, Names]) -> None:
        if self._waiting():
            self._late.update(dict.fromkeys(changed))
            return
        late, self._late = self._late, {}
        for name in {**late, **dict.fromkeys(changed)}:
            node = self._nodes.get(name)
            if node is None:
                continue
            if node.step_of is None:
                self._late[name] = None  # its shape is not computed yet, or was refused
                continue
            view = ProxyView(node.step_of, self._views.steps.get, node.secrets)
            everything: Names | None = None
            for stream, subscriber in list(node.streams.items()):
                if stream in node.told and name not in late:
                    subscriber.view_changed(view, changed[name])
                    continue
                node.told.add(stream)
                everything = everything or {kind: frozenset(view.names(kind)) for kind in PLURALS}
                subscriber.view_changed(view, _join(everything, changed.get(name, {})))

    def _shape_of(self, node: _Node) -> Shape | None:
        return self._views.shapes.get(node.proxy)

    def _take_shape(self, name: str, node: _Node) -> dict[Kind, set[str]]:
        """Follows the proxy's newest shape; returns the names that are new, gone, or made by another step."""
        shape = self._shape_of(node)
        if shape is None:
            return {}
        before = node.step_of or {}
        after: dict[Kind, dict[str, Step]] = {}
        for kind, resource, step in shape.steps:
            after.setdefault(kind, {})[resource] = step
        changed: dict[Kind, set[str]] = {}
        for kind in before.keys() | after.keys():
            old, new = before.get(kind, {}), after.get(kind, {})
            names = {each for each in old.keys() | new.keys() if old.get(each) != new.get(each)}
            if names:
                changed[kind] = names
        used = set(_steps_of(after))
        for step in set(_steps_of(before)) - used:
            self._forget_user(step, name)
        for step in used:
            self._users.setdefault(step, set()).add(name)
        node.step_of = after
        node.wanted = shape.secrets
        secrets = self._take_secrets(node)
        if secrets:
            changed["secret"] = secrets
        return changed

    def _take_secrets(self, node: _Node) -> set[str]:
        found = {name: self._secrets.find(name, node.proxy) for name in node.wanted}
        after = {name: each for name, each in found.items() if each is not None}
        before, node.secrets = node.secrets, after
        return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}

    def _forget_user(self, step: Step, name: str) -> None:
        users = self._users.get(step)
        if users is not None:
            users.discard(name)
            if not users:
                del self._users[step]

    # --- what REST shows ------------------------------------------------------------------------------------------

    def nodes(self) -> list[str]:
        """Connected proxies, by name."""
        return sorted(self._nodes)

    def stream_count(self) -> int:
        return len(self._node_of)

    def problems(self) -> Iterator[Problem]:
        """What authors should know of connected proxies' views, without repeats."""
        seen: dict[Problem, None] = {}
        for node in self._nodes.values():
            shape = self._shape_of(node)
            seen.update(dict.fromkeys(shape.problems if shape is not None else ()))
            seen.update(dict.fromkeys(self._views.shapes.problems(node.proxy)))
        yield from seen

    def count_states(self) -> list[tuple[str, str, float]]:
        """Kind, state, how many, over all proxies."""
        counts: dict[tuple[str, str], int] = {}
        for node in self._nodes.values():
            for kind, found in _statuses(node):
                for state, count in (
                    ("applied", found.applied),
                    ("pending", found.pending),
                    ("refused", len(found.refused)),
                ):
                    counts[(kind, state)] = counts.get((kind, state), 0) + count
        return [(kind, state, float(count)) for (kind, state), count in sorted(counts.items())]

    def show_status(self, node: str) -> dict[str, Any]:
        """Per type how many resources were sent, are pending, and which were refused and why."""
        types: dict[str, dict[str, Any]] = {}
        for kind, found in _statuses(self._nodes[node]):
            shown = types.setdefault(PLURALS[kind], {"sent": 0, "pending": 0, "refused": []})
            shown["sent"] += found.applied + found.pending
            shown["pending"] += found.pending
            shown["refused"] += [{"name": each.name, "reason": each.words} for each in found.refused]
        proxy = self._nodes[node].proxy
        software = "agent" if proxy.kind == "agent" else proxy.capability.software
        return {"node": node, "namespace": proxy.namespace, "software": software, "types": types}

    def show_resources(self, node: str, kind: Kind) -> list[dict[str, Any]]:
        """What the proxy should have of a kind, with the state of each; secrets without what they hold."""
        known = self._nodes[node]
        view = ProxyView(known.step_of or {}, self._views.steps.get, known.secrets)
        shown = []
        for name in sorted(view.names(kind)):
            resource = view.get(kind, name)
            if resource is not None:
                shown.append(
                    {
                        "name": name,
                        "version": resource.version.hex(),
                        "state": _state_of(known, resource),
                        "resource": show_resource(resource),
                    }
                )
        return shown

    def resource_names(self, node: str) -> list[str]:
        return sorted({name for names in (self._nodes[node].step_of or {}).values() for name in names})

    def find_keys(self, node: str, resource: str) -> list[tuple[str, Any]]:
        """Collections and keys behind a proxy's resources of this name."""
        step_of = self._nodes[node].step_of or {}
        return [(STEPS, names[resource]) for names in step_of.values() if resource in names]


def _steps_of(step_of: Mapping[Kind, Mapping[str, Step]]) -> Iterator[Step]:
    return (step for names in step_of.values() for step in names.values())


def _statuses(node: _Node) -> Iterator[tuple[Kind, KindStatus]]:
    for subscriber in node.streams.values():
        yield from subscriber.status().items()


def _state_of(node: _Node, resource: Resource) -> str:
    """`applied`, `refused`, `pending`, or `not asked for`."""
    asked = False
    for subscriber in node.streams.values():
        found = subscriber.status().get(resource.kind)
        if found is None:
            continue
        if any(each.name == resource.name and each.version == resource.version for each in found.refused):
            return "refused"
        held = subscriber.applied(resource.kind).get(resource.name)
        if held is not None and held.version == resource.version:
            return "applied"
        asked = asked or found.wildcard or resource.name in found.names
    return "pending" if asked else "not asked for"


def show_resource(resource: Resource) -> dict[str, Any]:
    """A resource as Protobuf JSON; of a secret only which kind it is."""
    if resource.kind == "secret":
        kind = "validationContext" if resource.name.endswith("-cacert") else "tlsCertificate"
        return {"name": resource.name, kind: {"redacted": True}}
    return pool.to_json(pool.parse(MESSAGES[resource.kind], resource.body), lower_camel=True)


def _add(target: dict[Kind, set[str]], names: Mapping[Kind, set[str]]) -> None:
    for kind, found in names.items():
        target.setdefault(kind, set()).update(found)


def _freeze(names: Mapping[Kind, set[str]]) -> Names:
    return {kind: frozenset(found) for kind, found in names.items()}


def _join(first: Names, second: Names) -> Names:
    return {
        kind: first.get(kind, frozenset()) | second.get(kind, frozenset()) for kind in {**first, **second}
    }
