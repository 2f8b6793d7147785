"""Where connections go: TCP rules of the model as tcp_proxy filters.

In: a service port or a gateway's route table. Out: network filters with weighted clusters, and references to these.
"""

from collections.abc import Iterable

from mainstay.compile import names
from mainstay.compile.access_log import access_log
from mainstay.compile.facts import Facts
from mainstay.compile.lookup import find_cluster, find_route_table, find_service, find_traffic_rule
from mainstay.compile.resource import Fields, Ref, duration, extension
from mainstay.compile.route.action import Client, stream_cluster
from mainstay.compile.route.match import applies
from mainstay.model.mesh import Mesh
from mainstay.model.route import TcpRule, WeightedDestination
from mainstay.model.service import Service
from mainstay.model.traffic import ConnectionPool, resolve


def service_rules(facts: Facts, service: Service, client: Client) -> tuple[TcpRule, ...]:
    """Return the TCP rules for a service that can apply to a client, without matches that cannot."""
    table = find_route_table(facts, service.key.host, client.namespace)
    return applicable(table.tcp if table else (), client)


def applicable(rules: Iterable[TcpRule], client: Client) -> tuple[TcpRule, ...]:
    """Return the rules that can apply to a client, each without the matches that cannot."""
    found: list[TcpRule] = []
    for rule in rules:
        fits = tuple(m for m in rule.matches if applies(m, client.namespace, client.labels, client.port))
        if fits or not rule.matches:
            found.append(TcpRule(rule.destinations, fits))
    return tuple(found)


def service_proxy(facts: Facts, service: Service, client: Client, refs: list[Ref]) -> Fields:
    """Return the tcp_proxy of a service port by the first rule that needs no look at addresses, else its cluster."""
    for rule in service_rules(facts, service, client):
        if not rule.matches or any(not match.subnets for match in rule.matches):
            return rule_proxy(facts, rule, client, refs)
    name = stream_cluster(service, client.port)
    rule_for = find_traffic_rule(facts, service.key, client.namespace, client.labels)
    pool = resolve(rule_for, None, client.port).pool
    return tcp_proxy(facts.mesh(), [(str(name), 1)], refs, pool)


def rule_proxy(facts: Facts, rule: TcpRule, client: Client, refs: list[Ref]) -> Fields:
    """Return the tcp_proxy of one rule; destinations that do not exist close their share of the connections."""
    shares = [(_cluster(facts, entry, client), entry.weight) for entry in rule.destinations]
    return tcp_proxy(facts.mesh(), shares, refs)


def tcp_proxy(
    mesh: Mesh, shares: list[tuple[str, int]], refs: list[Ref], pool: ConnectionPool | None = None
) -> Fields:
    """Return a tcp_proxy filter over clusters with weights."""
    refs += [Ref("cluster", cluster) for cluster, _ in shares]
    fields: Fields = {"stat_prefix": shares[0][0], "access_log": access_log(mesh)}
    if len(shares) == 1:
        fields["cluster"] = shares[0][0]
    else:
        positive = [(cluster, weight) for cluster, weight in shares if weight > 0]
        entries = [{"name": cluster, "weight": weight} for cluster, weight in positive or shares]
        fields["weighted_clusters"] = {"clusters": entries}
    if pool is not None and pool.tcp_idle_timeout is not None:
        fields["idle_timeout"] = duration(pool.tcp_idle_timeout)
    if pool is not None and pool.max_connection_duration is not None:
        fields["max_downstream_connection_duration"] = duration(pool.max_connection_duration)
    return extension(
        "envoy.filters.network.tcp_proxy", "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", fields
    )


def _cluster(facts: Facts, entry: WeightedDestination, client: Client) -> str:
    name = find_cluster(facts, entry.destination, client.namespace, client.labels, client.port)
    if name is None:
        return names.BLACK_HOLE
    service = find_service(facts, name.host, client.namespace)
    return str(stream_cluster(service, name.port, name.subset)) if service else names.BLACK_HOLE
