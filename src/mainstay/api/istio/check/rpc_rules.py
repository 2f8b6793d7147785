"""What rules of a VirtualService cannot mean for calls of described RPC protocols.

In: a decoded VirtualService and everything else. Out: problems, for rules that reach RPC alone: where a host has ports of both
kinds, a rule may well be meant for the others. Calls look like requests with method POST and path `/service/method`; there is
no scheme, no query, and nothing to redirect or to rewrite.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.istio.check.destinations import full_host, visible_services
from mainstay.api.istio.virtual_service import HTTPMatchRequest, HTTPRoute, VirtualService
from mainstay.api.kind import Lookup
from mainstay.api.node import Path
from mainstay.model.rpc import settle_ports

_OF_HTTP = {
    "scheme": ("scheme", "calls have no scheme"),
    "query_params": ("queryParams", "calls have no query"),
}


def check_rules_for_rpc(virtual: VirtualService, found: Findings, lookup: Lookup) -> None:
    """Report what has no meaning."""
    if not virtual.http or virtual.gateways not in ((), ("mesh",)):
        return
    speaks = _ports(virtual, found, lookup)
    if not any(speaks.values()):
        return
    for at, route in enumerate(virtual.http):
        path = ("spec", "http", at)
        alone = [match for match in route.match if match.port]
        ports = (
            {match.port for match in alone} if route.match and len(alone) == len(route.match) else {*speaks}
        )
        for index, match in enumerate(route.match):
            if _only_rpc({match.port} if match.port else {*speaks}, speaks):
                _check_match(match, found, (*path, "match", index))
        if _only_rpc(ports, speaks):
            _check_action(route, found, path)


def _ports(virtual: VirtualService, found: Findings, lookup: Lookup) -> dict[int | None, bool]:
    """Port → whether it speaks RPC, of all the hosts' services."""
    known = lookup.protocols()
    speaks: dict[int | None, bool] = {}
    for text in virtual.hosts:
        for service in visible_services(full_host(text, found.namespace, lookup), found.namespace, lookup):
            for port in settle_ports(service, known.__contains__).ports:
                speaks[port.number] = bool(port.rpc) and speaks.get(port.number, True)
    return speaks


def _only_rpc(ports: set[int | None], speaks: dict[int | None, bool]) -> bool:
    return bool(ports) and all(speaks.get(port, False) for port in ports)


def _check_match(match: HTTPMatchRequest, found: Findings, path: Path) -> None:
    for name, (key, reason) in _OF_HTTP.items():
        if getattr(match, name):
            found.add(
                "MS2007", (*path, key), reason, "Remove it; match uri (/service/method), authority or headers"
            )
    method = match.method
    if method is not None and method.exact != "POST":
        remedy = "Remove it: the method of a call is the last part of uri (/service/method)"
        found.add("MS2007", (*path, "method"), "calls look like requests with method POST alone", remedy)


def _check_action(route: HTTPRoute, found: Findings, path: Path) -> None:
    for key, value in (("redirect", route.redirect), ("rewrite", route.rewrite)):
        if value is not None:
            reason = f"callers of RPC know no {key}"
            found.add(
                "MS2007",
                (*path, key),
                reason,
                "Remove it; send calls elsewhere with route, or answer with directResponse",
            )
