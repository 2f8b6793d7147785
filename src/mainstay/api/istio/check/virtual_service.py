"""What a VirtualService refers to: hosts, ports, subsets, gateways; rules that can never apply; others for the same host.

In: a decoded VirtualService and everything else. Out: problems.
"""

from __future__ import annotations

from collections.abc import Iterable

from mainstay.api.findings import Findings
from mainstay.api.hosts import bare_host, complete_host, find_audience
from mainstay.api.istio.check.destinations import check_destination, full_host, host_covers
from mainstay.api.istio.check.rpc_rules import check_rules_for_rpc
from mainstay.api.istio.gateway import Gateway
from mainstay.api.istio.translate.virtual_service import audiences_of
from mainstay.api.istio.virtual_service import HTTPMatchRequest, HTTPRoute, VirtualService
from mainstay.api.kind import Defaults, Lookup, ObjectIndex
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.model.key import MESH, is_visible
from mainstay.model.problem import Problem


def check_virtual_service(thing: Object, lookup: Lookup) -> list[Problem]:
    """Return what dangles, conflicts or never applies."""
    found = Findings(thing)
    virtual: VirtualService = thing.spec
    for at, route in enumerate(virtual.http):
        _check_http(route, found, ("spec", "http", at), lookup)
    for at, rule in enumerate(virtual.tcp):
        for index, entry in enumerate(rule.route):
            path = ("spec", "tcp", at, "route", index, "destination")
            check_destination(entry.destination, found, path, lookup, connections=True)
    check_rules_for_rpc(virtual, found, lookup)
    _check_gateways(virtual, found, lookup)
    _check_order(virtual.http, found)
    _check_rivals(thing, virtual, found, lookup)
    return found.problems


def _check_http(route: HTTPRoute, found: Findings, path: Path, lookup: Lookup) -> None:
    for at, entry in enumerate(route.route):
        check_destination(entry.destination, found, (*path, "route", at, "destination"), lookup)
    if route.mirror:
        check_destination(route.mirror, found, (*path, "mirror"), lookup)
    for at, mirror in enumerate(route.mirrors):
        check_destination(mirror.destination, found, (*path, "mirrors", at, "destination"), lookup)


def _check_gateways(virtual: VirtualService, found: Findings, lookup: Lookup) -> None:
    places = _gateway_names(virtual)
    hosts = [full_host(host, found.namespace, lookup) for host in virtual.hosts]
    for name, path in places:
        audience = find_audience(name, found.namespace)
        if audience is None or audience == MESH:
            continue
        gateway = lookup.get("Gateway", *audience.split("/", 1))
        if gateway is None:
            known = [f"{each.namespace}/{each.name}" for each in lookup.objects("Gateway")]
            remedy = f"Use one of {', '.join(known[:5])}" if known else "Add the Gateway, or correct the name"
            found.add("IST0101", path, f"there is no Gateway {audience}", remedy)
            continue
        for at, host in enumerate(hosts):
            if not _takes(gateway.spec, gateway.namespace, host, found.namespace):
                reason = f"no server of the Gateway {audience} takes {host}"
                found.add("IST0132", ("spec", "hosts", at), reason, "Add the host to one of its servers")


def _gateway_names(virtual: VirtualService) -> list[tuple[str, Path]]:
    places: list[tuple[str, Path]] = [
        (name, ("spec", "gateways", at)) for at, name in enumerate(virtual.gateways)
    ]
    http: list[tuple[tuple[str, ...], Path]] = [
        (match.gateways, ("spec", "http", at, "match", index, "gateways"))
        for at, route in enumerate(virtual.http)
        for index, match in enumerate(route.match)
    ]
    tcp: list[tuple[tuple[str, ...], Path]] = [
        (match.gateways, ("spec", "tcp", at, "match", index, "gateways"))
        for at, rule in enumerate(virtual.tcp)
        for index, match in enumerate(rule.match)
    ]
    for names, path in (*http, *tcp):
        places += [(name, (*path, at)) for at, name in enumerate(names)]
    return places


def _takes(gateway: Gateway, own: str, host: str, namespace: str) -> bool:
    """Tell whether a server takes a host from VirtualServices of a namespace."""
    for server in gateway.servers:
        for text in server.hosts:
            at, slash, pattern = text.partition("/")
            at, pattern = (at, pattern) if slash else ("*", text)
            at = own if at == "." else at
            if at in ("*", namespace) and (host_covers(pattern, host) or host_covers(host, pattern)):
                return True
    return False


def _check_order(routes: tuple[HTTPRoute, ...], found: Findings) -> None:
    """A rule behind one that takes everything, and a match that stood before, decide nothing."""
    closed_by: int | None = None
    seen: dict[HTTPMatchKey, tuple[int, int]] = {}
    for at, route in enumerate(routes):
        if closed_by is not None:
            reason = f"http[{closed_by}] before it takes every request"
            found.add(
                "IST0130", ("spec", "http", at), reason, f"Move it before http[{closed_by}], or remove it"
            )
            continue
        for index, match in enumerate(route.match):
            first = seen.setdefault(_key(match), (at, index))
            if first != (at, index):
                reason = f"http[{first[0]}].match[{first[1]}] is the same and comes first"
                path = ("spec", "http", at, "match", index)
                found.add("IST0131", path, reason, "Remove one of them")
        if not route.match or any(_takes_all(match) for match in route.match):
            closed_by = at


HTTPMatchKey = str


def _key(match: HTTPMatchRequest) -> HTTPMatchKey:
    plain = {
        name: getattr(match, name) for name in match.__struct_fields__ if name not in ("name", "stat_prefix")
    }
    return repr(sorted(plain.items()))


def _takes_all(match: HTTPMatchRequest) -> bool:
    if match.uri is not None and match.uri.prefix == "/":
        rest = {name: getattr(match, name) for name in match.__struct_fields__}
        return not any(
            value for name, value in rest.items() if name not in ("uri", "name", "ignore_uri_case")
        )
    return not any(
        getattr(match, name) for name in match.__struct_fields__ if name not in ("name", "ignore_uri_case")
    )


def _mesh_hosts(thing: Object, defaults: Defaults) -> Iterable[str]:
    """Full hosts of a VirtualService, if it has rules for sidecars."""
    virtual: VirtualService = thing.spec
    if MESH in audiences_of(virtual, thing.namespace):
        for host in virtual.hosts:
            yield complete_host(bare_host(host), thing.namespace, defaults)


_BY_MESH_HOST = ObjectIndex("VirtualService", _mesh_hosts)


def _check_rivals(thing: Object, virtual: VirtualService, found: Findings, lookup: Lookup) -> None:
    """Two VirtualServices that give sidecars rules for one host: only one of them would count."""
    for at, host in enumerate(_mesh_hosts(thing, lookup.defaults)):
        for rival in lookup.find(_BY_MESH_HOST, host):
            if rival.key != thing.key and _meet(thing, virtual, rival, rival.spec):
                reason = f"{rival.label} gives sidecars rules for {virtual.hosts[at]} too"
                remedy = "Join the two, or limit them to different namespaces with exportTo"
                found.add("IST0109", ("spec", "hosts", at), reason, remedy)


def _meet(thing: Object, virtual: VirtualService, rival: Object, spec: VirtualService) -> bool:
    one, other = _visible_to(virtual, thing.namespace), _visible_to(spec, rival.namespace)
    return "*" in one or "*" in other or any(is_visible(tuple(other), namespace) for namespace in one)


def _visible_to(virtual: VirtualService, namespace: str) -> set[str]:
    return {namespace if at == "." else at for at in virtual.export_to} or {"*"}
