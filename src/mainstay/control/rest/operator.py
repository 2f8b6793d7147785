"""`/v1/status`, `/v1/proxies/…`, `/v1/why`, `/v1/version`: what the control plane knows of itself and its
proxies.

In: the publisher's records of what each proxy was sent, applied or refused; sources' health; the graph's
ring. Out: JSON. Invariant: key bytes never leave; secrets are shown without them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mainstay.compile.resource import Kind
from mainstay.control.proxies import PLURALS, Proxies
from mainstay.control.rest.answers import RestError, answer
from mainstay.control.rest.show_key import show_key
from mainstay.graph import Graph
from mainstay.model.key import WorkloadKey
from mainstay.model.problem import Problem
from mainstay.settings import nearest
from mainstay.sources import Intake

AGENT = "agent~"
"""How ids of agents begin."""

KINDS: dict[str, Kind] = {plural: kind for kind, plural in PLURALS.items()}


class OperatorRoutes:
    """The routes of this module. `waiting()` says why nothing is pushed yet, empty once pushes are on; `show_workload` what
    is known of the workload beside a proxy."""

    def __init__(
        self,
        proxies: Proxies,
        graph: Graph,
        intake: Intake,
        problems: Callable[[], list[Problem]],
        waiting: Callable[[], str],
        version: str,
        show_workload: Callable[[WorkloadKey], dict[str, str] | None],
    ) -> None:
        self._proxies = proxies
        self._graph = graph
        self._intake = intake
        self._problems = problems
        self._waiting = waiting
        self._version = version
        self._show_workload = show_workload

    def routes(self) -> list[Route]:
        return [
            Route("/v1/status", self.status, methods=["GET"]),
            Route("/v1/proxies/{node}/{kind}", self.resources, methods=["GET"]),
            Route("/v1/why", self.why, methods=["GET"]),
            Route("/v1/version", self.version, methods=["GET"]),
        ]

    async def status(self, request: Request) -> Response:
        given = request.query_params.get("node", "")
        nodes = [_find_node(self._proxies, given)] if given else self._proxies.nodes()
        return answer(
            {
                "proxies": [self._show_proxy(each) for each in nodes],
                "sources": [
                    {"name": health.source, "state": health.state, "reason": health.reason}
                    for health in self._intake.health()
                ],
                "problems": self._problems(),
                "waiting": self._waiting(),
            }
        )

    def _show_proxy(self, node: str) -> dict[str, Any]:
        shown = self._proxies.show_status(node)
        name = node.split("~")[2].rpartition(".")[0]
        return shown | {"workload": self._show_workload(WorkloadKey(shown["namespace"], name))}

    async def resources(self, request: Request) -> Response:
        node, plural = request.path_params["node"], request.path_params["kind"]
        kind = KINDS.get(plural)
        if kind is None:
            raise RestError(404, f"there is no {plural!r}{nearest(plural, KINDS)}")
        node = _find_node(self._proxies, node)
        name = request.query_params.get("name", "")
        found = self._proxies.show_resources(node, kind)
        if name:
            found = [each for each in found if each["name"] == name]
            if not found:
                raise RestError(404, f"{node} was sent no {kind} called {name!r}")
        return answer({"node": node, "resources": found})

    async def why(self, request: Request) -> Response:
        node, resource = request.query_params.get("node", ""), request.query_params.get("resource", "")
        node = _find_node(self._proxies, node)
        keys = self._proxies.find_keys(node, resource)
        if not keys:
            known = nearest(resource, self._proxies.resource_names(node))
            raise RestError(404, f"{node} has no resource called {resource!r}{known}")
        steps = [
            {
                "collection": step.collection,
                "key": show_key(step.key),
                "round": step.round,
                "seconds": step.seconds,
                "write": step.write,
            }
            for collection, key in keys
            for step in self._graph.ring.find_chain(collection, key)
        ]
        return answer({"node": node, "resource": resource, "steps": steps})

    async def version(self, _request: Request) -> Response:
        return answer({"version": self._version})


def _find_node(proxies: Proxies, given: str) -> str:
    """The node of this id, or of this `NAME.NAMESPACE` or `NAME` if only one is called so. A proxy is meant rather than the agent
    beside it."""
    nodes = proxies.nodes()
    if given in nodes:
        return given
    called = {node: node.split("~")[2] for node in nodes}
    carrying = {name for node, name in called.items() if not node.startswith(AGENT)}
    called = {
        node: name for node, name in called.items() if not node.startswith(AGENT) or name not in carrying
    }
    found = [node for node, name in called.items() if given and given in (name, name.rpartition(".")[0])]
    if len(found) > 1:
        raise RestError(409, f"several proxies are called {given!r}: {', '.join(found)}")
    if not found:
        raise RestError(404, f"no proxy {given!r} is connected{nearest(given, [*nodes, *called.values()])}")
    return found[0]
