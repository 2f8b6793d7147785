"""Listeners of a gRPC library: what a target means, and how a server serves.

In: ``ApiListenerTraits``, ``GrpcServerTraits``. Out: Listener resources. gRPC tells TLS from plain bytes on no port, so a port
is one or the other: plain where mutual TLS is off, else mutual TLS, also in PERMISSIVE mode. What a filter cannot do there is
reported, not left out in silence.
"""

from mainstay.compile.cluster import socket_address
from mainstay.compile.facts import Facts
from mainstay.compile.filters import local_ratelimit, rbac, router
from mainstay.compile.filters.context import FilterContext
from mainstay.compile.listener.connection_manager import by_name
from mainstay.compile.lookup import mtls_mode
from mainstay.compile.proxyless.certificates import server_context
from mainstay.compile.resource import Fields, Ref, Resource, extension, make_resource, pack
from mainstay.compile.traits import ApiListenerTraits, GrpcServerTraits
from mainstay.model.problem import Problem

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def compile_api_listener(facts: Facts, traits: ApiListenerTraits) -> Resource:
    """Compile what a client's target leads to."""
    filters = router.http_filters(facts, FilterContext("outbound"), [])
    manager: Fields = {"stat_prefix": traits.route, **by_name(traits.route), "http_filters": filters}
    fields: Fields = {"name": traits.name, "api_listener": {"api_listener": pack(_MANAGER, manager)}}
    return make_resource("listener", traits.name, fields, [Ref("route", traits.route)])


def compile_grpc_server(facts: Facts, traits: GrpcServerTraits) -> Resource:
    """Compile the listener of a server."""
    problems: list[Problem] = []
    mode = mtls_mode(facts, traits.namespace, traits.labels, traits.port)
    route: Fields = {"match": {"prefix": ""}, "non_forwarding_action": {}}
    host = {"name": "any", "domains": ["*"], "routes": [route]}
    label = f"inbound|{traits.port}||"
    manager: Fields = {
        "stat_prefix": label,
        "route_config": {"name": label, "virtual_hosts": [host]},
        "http_filters": _filters(facts, traits, problems),
    }
    chain: Fields = {
        "name": label,
        "filters": [extension("envoy.filters.network.http_connection_manager", _MANAGER, manager)],
    }
    if mode != "DISABLE":
        chain["transport_socket"] = server_context()
    fields: Fields = {
        "name": traits.name,
        "address": socket_address(traits.address.strip("[]"), traits.port),
        "traffic_direction": "INBOUND",
        "filter_chains": [chain],
    }
    return make_resource("listener", traits.name, fields, problems=problems)


def _filters(facts: Facts, traits: GrpcServerTraits, problems: list[Problem]) -> list[Fields]:
    context = FilterContext("inbound", traits.namespace, traits.labels, traits.port)
    judges = rbac.http_filters(facts, context, problems)
    for index, entry in enumerate(judges):
        entry["name"] = f"{entry['name']}-{index}"  # gRPC takes each name once
    if local_ratelimit.http_filters(facts, context, problems):
        problems.append(
            unsupported(
                f"LocalRateLimit/{traits.namespace}", "gRPC's library has no local rate limit", traits.name
            )
        )
    return [*judges, *router.http_filters(facts, context, problems)]


def unsupported(thing: str, reason: str, name: str) -> Problem:
    """Return the problem of something written that gRPC's library does not do."""
    return Problem(
        code="MS4203",
        severity="warning",
        object=thing,
        path="",
        reason=f"{reason}; {name} goes without it",
        remedy="Give the workload a sidecar where this is needed, or take the workload out of what it applies to.",
    )
