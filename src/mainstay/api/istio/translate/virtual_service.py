"""VirtualService → a ``RouteTable`` per host and audience (sidecars, or a gateway).

In: a decoded VirtualService. Out: route tables with the rules in the author's order. A match that names gateways counts for
these instead of the object's; a rule all of whose matches are for others is absent from a table. Source: istio/api
virtual_service.proto and Istio's validation of it.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.hosts import find_audience, read_audience, read_blocks, read_full_host, read_visibility
from mainstay.api.istio.translate.http_route import http_rule, read_matches
from mainstay.api.istio.translate.route_destination import weighted
from mainstay.api.istio.virtual_service import L4MatchAttributes, VirtualService
from mainstay.api.kind import Defaults, Fact
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.model.key import MESH, RouteTableKey, labels_of
from mainstay.model.problem import Problem
from mainstay.model.route import HttpMatch, HttpRule, RouteTable, TcpMatch, TcpRule

Audiences = tuple[str, ...]
"""For whom a match counts."""


def translate_virtual_service(thing: Object, defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the route tables."""
    found = Findings(thing)
    virtual: VirtualService = thing.spec
    hosts = [
        read_full_host(text, found, ("spec", "hosts", at), defaults, wildcard=True)
        for at, text in enumerate(virtual.hosts)
    ]
    own = _audiences(virtual.gateways, found, ("spec", "gateways")) or (MESH,)
    if not virtual.http and not virtual.tcp:
        found.add("MS1010", ("spec",), "there are no rules", "Add http or tcp")
    http = [_http(virtual, at, own, found, defaults) for at in range(len(virtual.http))]
    tcp = [_tcp(virtual, at, own, found, defaults) for at in range(len(virtual.tcp))]
    visible_to = read_visibility(virtual.export_to, found, ("spec", "exportTo"))
    if found.problems:
        return found.problems
    audiences = {audience for _, entries in http for names, _ in entries for audience in names}
    audiences |= {audience for _, entries in tcp for names, _ in entries for audience in names}
    tables: list[Fact] = []
    for host in dict.fromkeys(hosts):
        for audience in sorted(audiences):
            key = RouteTableKey(host, audience, thing.key)
            table = RouteTable(
                key,
                tuple(each for part in http if (each := _http_for(part, audience))),
                tuple(rule for pair in tcp if (rule := _tcp_for(pair, audience))),
                visible_to,
                thing.created,
            )
            tables.append(table)
    return tables


def audiences_of(virtual: VirtualService, namespace: str) -> set[str]:
    """Return all audiences a VirtualService speaks to; its names were checked when it was translated."""
    names = set(virtual.gateways or (MESH,))
    names.update(name for rule in virtual.http for match in rule.match for name in match.gateways)
    names.update(name for rule in virtual.tcp for match in rule.match for name in match.gateways)
    return {audience for name in names if (audience := find_audience(name, namespace))}


def _audiences(names: tuple[str, ...], found: Findings, path: Path) -> Audiences:
    return tuple(read_audience(name, found, (*path, at)) for at, name in enumerate(names))


HttpPart = tuple[HttpRule, list[tuple[Audiences, HttpMatch | None]]]
"""A rule without matches, and its matches with their audiences; None stands for "every request"."""

TcpPart = tuple[TcpRule, list[tuple[Audiences, TcpMatch | None]]]


def _http(virtual: VirtualService, at: int, own: Audiences, found: Findings, defaults: Defaults) -> HttpPart:
    route, path = virtual.http[at], ("spec", "http", at)
    matches = read_matches(route.match, found, (*path, "match"))
    rule = http_rule(route, found, path, defaults)
    entries: list[tuple[Audiences, HttpMatch | None]] = [
        (_audiences(written.gateways, found, (*path, "match", index, "gateways")) or own, match)
        for index, (written, match) in enumerate(zip(route.match, matches, strict=True))
    ]
    return rule, entries or [(own, None)]


def _http_for(pair: HttpPart, audience: str) -> HttpRule | None:
    rule, entries = pair
    matches = [match for audiences, match in entries if audience in audiences]
    if not matches:
        return None
    kept = () if None in matches else tuple(match for match in matches if match is not None)
    return HttpRule(rule.action, kept, rule.headers, rule.name)


def _tcp(virtual: VirtualService, at: int, own: Audiences, found: Findings, defaults: Defaults) -> TcpPart:
    route, path = virtual.tcp[at], ("spec", "tcp", at)
    destinations = weighted(route.route, found, (*path, "route"), defaults)
    entries: list[tuple[Audiences, TcpMatch | None]] = []
    for index, match in enumerate(route.match):
        here = (*path, "match", index)
        audiences = _audiences(match.gateways, found, (*here, "gateways")) or own
        entries.append((audiences, _tcp_match(match, found, here)))
    return TcpRule(destinations), entries or [(own, None)]


def _tcp_match(match: L4MatchAttributes, found: Findings, path: Path) -> TcpMatch:
    return TcpMatch(
        read_blocks(match.destination_subnets, found, (*path, "destinationSubnets")),
        match.port or 0,
        labels_of(match.source_labels),
        match.source_namespace or "",
    )


def _tcp_for(pair: TcpPart, audience: str) -> TcpRule | None:
    rule, entries = pair
    matches = [match for audiences, match in entries if audience in audiences]
    if not matches:
        return None
    kept = () if None in matches else tuple(match for match in matches if match is not None)
    return TcpRule(rule.destinations, kept)
