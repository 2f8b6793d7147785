"""Route configurations: virtual hosts of a sidecar's outbound port, of an explicit listener, of a gateway's servers.

In: ``RouteTraits``, ``GatewayRouteTraits``. Out: RouteConfiguration resources that refer to the clusters they use.
Invariant: domains are unique within a configuration; where two services claim one, the first in canonical order keeps it.
"""

from collections.abc import Iterable

from mainstay.compile import names
from mainstay.compile.facts import Facts
from mainstay.compile.lookup import find_route_table, host_matches
from mainstay.compile.names import ClusterName
from mainstay.compile.resource import Fields, Ref, Resource, make_resource
from mainstay.compile.route.action import Client, default_action, route_action
from mainstay.compile.route.match import applies, route_match
from mainstay.compile.traits import GatewayRouteTraits, GatewayServer, RouteTraits
from mainstay.model.gateway import Server
from mainstay.model.key import ObjectKey, ServiceKey, is_visible
from mainstay.model.mesh import Mesh
from mainstay.model.route import HttpRule, RouteTable
from mainstay.model.service import Service


def compile_route(facts: Facts, traits: RouteTraits) -> Resource:
    """Compile a sidecar's outbound routes for one port."""
    refs: list[Ref] = []
    taken: set[str] = set()
    hosts: list[Fields] = []
    for key in traits.services:
        service = facts.service(key)
        if service is None or service.port(traits.port) is None:
            continue
        authority = key.host if traits.explicit and not key.host.startswith("*") else ""
        client = Client(traits.namespace, traits.labels, traits.port, authority)
        domains = ["*"] if traits.explicit else _domains(service, traits.port, traits.namespace, facts.mesh())
        routes = _service_routes(facts, service, client, refs)
        _add_host(hosts, taken, f"{key.host}:{traits.port}", domains, routes)
    for host in traits.hosts:
        table = find_route_table(facts, host, traits.namespace)
        client = Client(traits.namespace, traits.labels, traits.port)
        if table is not None and table.http:
            routes = _routes(facts, table.http, client, refs)
            _add_host(hosts, taken, f"{host}:{traits.port}", [host, f"{host}:{traits.port}"], routes)
    if traits.catch_all is not None and "*" not in taken:
        hosts.append(_catch_all(traits.catch_all == "passthrough", refs))
    return make_resource("route", traits.name, _configuration(traits.name, hosts), refs)


def compile_gateway_route(facts: Facts, traits: GatewayRouteTraits) -> Resource:
    """Compile the routes of a gateway: for each host its servers carry, the rules of all tables, oldest first."""
    refs: list[Ref] = []
    rules: dict[str, list[HttpRule]] = {}
    redirected: set[str] = set()
    for _, server, table in gateway_tables(facts, traits.servers):
        if not table.http:
            continue
        for host in hosts_in_common(server, table):
            if server.https_redirect:
                redirected.add(host)
            rules.setdefault(host, []).extend(table.http)
    for entry in traits.servers:
        redirect_server = gateway_server(facts, entry)
        if redirect_server is not None and redirect_server.https_redirect:
            redirected |= {pattern.host for pattern in redirect_server.hosts}
    client = Client(traits.namespace, (), traits.port)
    hosts: list[Fields] = []
    taken: set[str] = set()
    for host in sorted({*rules, *redirected}):
        routes = (
            [{"match": {"prefix": "/"}, "redirect": {"https_redirect": True}}]
            if host in redirected
            else _routes(facts, _merged(rules[host]), client, refs)
        )
        domains = [host] if host == "*" else [host, f"{host}:{traits.port}"]
        _add_host(hosts, taken, f"{host}:{traits.port}", domains, routes)
    return make_resource("route", traits.name, _configuration(traits.name, hosts), refs)


def gateway_server(facts: Facts, entry: GatewayServer) -> Server | None:
    """Return the server at a gateway's position, None once it is gone."""
    gateway = facts.gateway(entry.gateway)
    return gateway.servers[entry.index] if gateway and entry.index < len(gateway.servers) else None


def gateway_tables(
    facts: Facts, servers: Iterable[GatewayServer]
) -> Iterable[tuple[ObjectKey, Server, RouteTable]]:
    """Yield each server with each route table that names its gateway and is visible there, oldest first."""
    for entry in servers:
        server = gateway_server(facts, entry)
        if server is None:
            continue
        tables = facts.route_tables_of(str(entry.gateway))
        for table in sorted(tables, key=lambda t: (t.created, t.key)):
            if is_visible(table.visible_to, entry.gateway.namespace):
                yield entry.gateway, server, table


def hosts_in_common(server: Server, table: RouteTable) -> list[str]:
    """Return the hosts that both a server and a table cover, sorted: the narrower of each pair.

    A server's ``namespace/host`` takes routes of that namespace only.
    """
    host = table.key.host
    found: set[str] = set()
    for pattern in server.hosts:
        if pattern.namespace not in ("*", table.key.owner.namespace):
            continue
        if host_matches(pattern.host, host):
            found.add(host)
        elif host_matches(host, pattern.host):
            found.add(pattern.host)
    return sorted(found)


def _merged(rules: list[HttpRule]) -> tuple[HttpRule, ...]:
    """Several VirtualServices of a gateway's host are one list; rules for every request go last, or they would hide
    the rules of the younger."""
    return tuple(sorted(rules, key=lambda rule: not rule.matches))


def _service_routes(facts: Facts, service: Service, client: Client, refs: list[Ref]) -> list[Fields]:
    table = find_route_table(facts, service.key.host, client.namespace)
    if table is not None and table.http:
        return _routes(facts, table.http, client, refs)
    cluster = str(ClusterName(service.key.host, client.port))
    return [{"name": "default", "match": {"prefix": "/"}, **default_action(cluster, client, refs)}]


def _routes(facts: Facts, rules: Iterable[HttpRule], client: Client, refs: list[Ref]) -> list[Fields]:
    routes: list[Fields] = []
    for rule in rules:
        if not rule.matches:
            routes.append(_route(rule.name, {"prefix": "/"}, route_action(facts, rule, None, client, refs)))
            break
        for match in rule.matches:
            if not applies(match, client.namespace, client.labels, client.port):
                continue
            name = ".".join(part for part in (rule.name, match.name) if part)
            fields = route_match(match)
            routes.append(_route(name, fields, route_action(facts, rule, match.uri, client, refs)))
            if fields == {"prefix": "/"}:
                return routes
    return routes


def _route(name: str, match: Fields, action: Fields) -> Fields:
    return {"name": name, "match": match, **action} if name else {"match": match, **action}


def _add_host(
    hosts: list[Fields], taken: set[str], name: str, domains: list[str], routes: list[Fields]
) -> None:
    free = [domain for domain in dict.fromkeys(domains) if domain not in taken]
    if free:
        taken.update(free)
        hosts.append({"name": name, "domains": free, "routes": routes, "include_request_attempt_count": True})


def _domains(service: Service, port: int, namespace: str, mesh: Mesh) -> list[str]:
    hosts = [service.key.host, *short_names(service.key, namespace, mesh.domain_suffix)]
    hosts += [address for address in service.addresses if "/" not in address]
    return [
        domain for host in hosts for domain in (host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    ]


def short_names(key: ServiceKey, namespace: str, domain_suffix: str) -> list[str]:
    """``reviews.shop.svc``, ``reviews.shop`` and, inside the namespace, ``reviews``, as cluster DNS would resolve them."""
    tail = f".{key.namespace}.svc.{domain_suffix}"
    if not key.host.endswith(tail) or "*" in key.host:
        return []
    name = key.host.removesuffix(tail)
    names_ = [f"{name}.{key.namespace}.svc", f"{name}.{key.namespace}"]
    return [name, *names_] if namespace == key.namespace else names_


def _catch_all(passthrough: bool, refs: list[Ref]) -> Fields:
    if passthrough:
        refs.append(Ref("cluster", names.PASSTHROUGH))
        action: Fields = {"route": {"cluster": names.PASSTHROUGH, "timeout": {}}}
        name = "allow_any"
    else:
        action = {"direct_response": {"status": 502}}
        name = "block_all"
    routes = [{"name": name, "match": {"prefix": "/"}, **action}]
    return {"name": name, "domains": ["*"], "routes": routes, "include_request_attempt_count": True}


def _configuration(name: str, hosts: list[Fields]) -> Fields:
    # Clusters may come and go on their own stream positions: a route must not be refused for one that is on its way.
    return {"name": name, "virtual_hosts": hosts, "validate_clusters": {"value": False}}
