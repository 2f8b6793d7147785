"""Routes of a gRPC client.

In: ``GrpcRouteTraits``. Out: a RouteConfiguration: a sidecar's for the same service, with time limits where gRPC looks for
them. What of the rules gRPC does not do (it changes no requests, answers none itself, copies none) is reported.
"""

from collections.abc import Iterable

from mainstay._proto import pool
from mainstay.compile.facts import Facts
from mainstay.compile.lookup import find_route_table
from mainstay.compile.proxyless.listener import unsupported
from mainstay.compile.resource import MESSAGES, Resource, resource_of_bytes
from mainstay.compile.route.table import compile_route
from mainstay.compile.traits import GrpcRouteTraits
from mainstay.model.problem import Problem
from mainstay.model.route import NO_HEADERS, NO_REWRITE, Forward, HttpRule


def compile_grpc_route(facts: Facts, traits: GrpcRouteTraits) -> Resource:
    """Compile the routes behind a target."""
    made = compile_route(facts, traits.base)
    message = pool.parse(MESSAGES["route"], made.body)
    for host in message.virtual_hosts:
        for route in host.routes:
            if route.HasField("route") and route.route.HasField("timeout"):
                limit = route.route.timeout
                if limit.seconds or limit.nanos:
                    route.route.max_stream_duration.max_stream_duration.CopyFrom(limit)
                route.route.ClearField("timeout")
    body = bytes(message.SerializeToString(deterministic=True))
    return resource_of_bytes("route", made.name, body, made.refers, (*made.problems, *_undone(facts, traits)))


def _undone(facts: Facts, traits: GrpcRouteTraits) -> Iterable[Problem]:
    for key in traits.base.services:
        table = find_route_table(facts, key.host, traits.base.namespace)
        found = {reason for rule in table.http for reason in _beyond(rule)} if table is not None else set()
        for reason in sorted(found):
            assert table is not None
            yield unsupported(f"VirtualService/{table.key.owner}", reason, traits.base.name)


def _beyond(rule: HttpRule) -> Iterable[str]:
    """What of a rule is beyond gRPC's library."""
    if not isinstance(rule.action, Forward):
        yield "gRPC's library answers no request itself"
        return
    changes = [rule.headers, *(each.headers for each in rule.action.destinations)]
    if any(each != NO_HEADERS for each in changes) or rule.action.rewrite != NO_REWRITE:
        yield "gRPC's library changes no headers or paths"
    if rule.action.mirrors:
        yield "gRPC's library mirrors no requests"
    if any(match.query for match in rule.matches):
        yield "gRPC has no query parameters to match"
