"""Clusters: where a service port's (or subset's) requests and connections go, and under which limits.

In: ``ClusterTraits``, ``InboundClusterTraits``, ``FixedClusterTraits``. Out: Cluster resources in Istio's shape. A cluster
whose service, port or subset is gone becomes an empty one of the same name, which answers 503.
"""

from typing import Any

from mainstay.compile import names
from mainstay.compile.capability import OwnSecrets
from mainstay.compile.facts import Facts
from mainstay.compile.names import ClusterName
from mainstay.compile.resource import Fields, Ref, Resource, duration, make_resource, pack, struct
from mainstay.compile.tls import MESH_SECRETS, Wire, client_tls, mesh_upstream, raw_buffer
from mainstay.compile.traits import ClusterTraits, FixedClusterTraits, InboundClusterTraits
from mainstay.model.endpoints import Endpoint, NamedTarget
from mainstay.model.problem import Problem
from mainstay.model.protocol import PortProtocol
from mainstay.model.published import ORIGIN
from mainstay.model.service import Service
from mainstay.model.traffic import (
    ConnectionPool,
    OutlierDetection,
    Subset,
    TrafficPolicy,
    TrafficRule,
    resolve,
)

UNLIMITED = 4_294_967_295
"""Istio sets every breaker it was not told about to the largest number: limits are the user's decision."""

INBOUND_SOURCE = "127.0.0.6"
"""Source address of intercepted inbound connections to the application: interception rules skip it (Istio's)."""

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_NO_POOL = ConnectionPool()


def compile_cluster(facts: Facts, traits: ClusterTraits) -> Resource:
    """Compile an outbound cluster; ``traits.name`` is that of a ``ClusterName``."""
    name = names.parse_cluster_name(traits.name)
    if name is None:
        raise ValueError(f"{traits.name!r} is not the name of an outbound cluster")
    service = facts.service(traits.service) if traits.service else None
    port = service.port(name.port) if service else None
    rule = traffic_rule(facts, traits)
    subset = subset_of(rule, name)
    if service is None or port is None or (name.subset and subset is None):
        return _empty(traits.name)
    policy = resolve(rule, subset, name.port)
    pool = policy.pool or _NO_POOL
    mesh = facts.mesh()
    wire = "stream" if name.stream else wire_of(port.protocol, pool)
    refs: list[Ref] = []
    problems: list[Problem] = []
    fields: Fields = {
        "name": traits.name,
        **_discovery(facts, service, name, policy, refs),
        "connect_timeout": duration(pool.connect_timeout or mesh.connect_timeout),
        "circuit_breakers": breakers(policy),
        "metadata": _metadata(service, name),
        **outlier(policy.outlier),
        **_http_options(wire, pool),
        **_keep_alive(pool),
        **_transport(facts, service, name, policy, wire, traits.secrets, refs),
    }
    return make_resource("cluster", traits.name, fields, refs, problems)


def compile_fixed_cluster(facts: Facts, traits: FixedClusterTraits) -> Resource:
    """Compile one of the clusters every sidecar may need whatever the services."""
    if traits.name == names.BLACK_HOLE:
        return _empty(traits.name)
    fields: Fields = {
        "name": traits.name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": duration(facts.mesh().connect_timeout),
        "circuit_breakers": breakers(TrafficPolicy()),
        **_http_options("downstream", _NO_POOL),
    }
    if traits.name == names.INBOUND_PASSTHROUGH:
        fields["upstream_bind_config"] = _inbound_source()
    return make_resource("cluster", traits.name, fields)


def compile_inbound_cluster(facts: Facts, traits: InboundClusterTraits) -> Resource:
    """Compile the cluster towards the application behind an inbound port."""
    name = names.inbound_cluster(traits.port)
    pool = traits.pool or _NO_POOL
    fields: Fields = {
        "name": name,
        "connect_timeout": duration(pool.connect_timeout or facts.mesh().connect_timeout),
        "circuit_breakers": breakers(TrafficPolicy(pool=pool)),
        **_http_options(
            "http1" if traits.protocol is PortProtocol.HTTP else wire_of(traits.protocol, pool), pool
        ),
        **_keep_alive(pool),
    }
    if traits.endpoint:
        fields["type"] = "STATIC"
        fields["load_assignment"] = _assignment(name, [_host(_application_address(traits.endpoint), 1)])
    else:
        fields["type"] = "ORIGINAL_DST"
        fields["lb_policy"] = "CLUSTER_PROVIDED"
        fields["upstream_bind_config"] = _inbound_source()
    return make_resource("cluster", name, fields)


def traffic_rule(facts: Facts, traits: ClusterTraits) -> TrafficRule | None:
    """Return the rule that the planner found for the cluster, None once it is gone."""
    if traits.rule is None:
        return None
    host, key = traits.rule
    return next((rule for rule in facts.traffic_rules(host) if rule.key == key), None)


def subset_of(rule: TrafficRule | None, name: ClusterName | None) -> Subset | None:
    """Return the subset that a cluster's name speaks of."""
    return rule.subset(name.subset) if rule is not None and name is not None else None


def wire_of(protocol: PortProtocol, pool: ConnectionPool) -> Wire:
    """Return what a cluster for a port of this protocol speaks."""
    if protocol.is_http2 or (protocol is PortProtocol.HTTP and pool.h2_upgrade == "UPGRADE"):
        return "http2"
    if protocol is PortProtocol.AUTO or (protocol.is_http and pool.use_client_protocol):
        return "downstream"
    return "http1" if protocol.is_http else "stream"


def _empty(name: str) -> Resource:
    fields: Fields = {"name": name, "type": "STATIC", "connect_timeout": duration(10_000)}
    return make_resource("cluster", name, fields)


def _discovery(
    facts: Facts, service: Service, name: ClusterName, policy: TrafficPolicy, refs: list[Ref]
) -> Fields:
    if service.resolution == "none" or policy.balancing == "PASSTHROUGH":
        return {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    balancing = policy.balancing or "LEAST_REQUEST"
    if service.resolution == "endpoints":
        refs.append(Ref("endpoint", str(name)))
        config = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": {}}
        discovery = {"service_name": str(name), "eds_config": config}
        return {"type": "EDS", "eds_cluster_config": discovery, "lb_policy": balancing}
    return {
        "type": "STRICT_DNS",
        "lb_policy": balancing,
        "dns_lookup_family": "V4_PREFERRED",
        "dns_refresh_rate": duration(5_000),
        "respect_dns_ttl": True,
        "load_assignment": _assignment(str(name), _dns_hosts(facts, service, name)),
    }


def _dns_hosts(facts: Facts, service: Service, name: ClusterName) -> list[Fields]:
    """Targets of a DNS service: its named and addressed endpoints, else the host itself, as Istio does."""
    targets: list[NamedTarget] = list(facts.named_targets(service.key, name.port))
    rows: list[Endpoint] = [row for entry in facts.endpoint_sets(service.key, name.port) for row in entry]
    hosts = [_host(socket_address(t.key.host, t.target), t.weight) for t in targets]
    hosts += [_host(socket_address(row.address, row.port), row.weight) for row in rows]
    port = service.port(name.port)
    if not hosts and port is not None and not service.key.host.startswith("*"):
        hosts.append(_host(socket_address(service.key.host, port.target), 1))
    return hosts


def _transport(
    facts: Facts,
    service: Service,
    name: ClusterName,
    policy: TrafficPolicy,
    wire: Wire,
    secrets: OwnSecrets,
    refs: list[Ref],
) -> Fields:
    tls = policy.tls
    if tls is not None and tls.mode in ("SIMPLE", "MUTUAL"):
        socket, needed = client_tls(tls, service.key.host, service.accounts, wire)
        refs += needed
        return {"transport_socket": socket}
    if tls is not None and tls.mode == "DISABLE":
        return {}
    by_name = tls.subject_alt_names if tls is not None else ()
    identities = by_name or service.accounts or facts.identities(service.key)
    mesh_socket = mesh_upstream(identities, (tls.sni if tls else "") or name.sni, wire, secrets)
    if tls is not None:
        refs += MESH_SECRETS
        return {"transport_socket": mesh_socket}
    if service.location == "external" or service.resolution != "endpoints":
        return {}
    refs += MESH_SECRETS
    return {
        "transport_socket_matches": [
            {"name": "tlsMode-istio", "match": struct({"tlsMode": "istio"}), "transport_socket": mesh_socket},
            {"name": "tlsMode-disabled", "match": struct({}), "transport_socket": raw_buffer()},
        ]
    }


def breakers(policy: TrafficPolicy) -> Fields:
    """Return the circuit breakers of a policy."""
    pool = policy.pool or _NO_POOL

    def limit(value: int | None) -> Fields:
        return {"value": UNLIMITED if value is None else value}

    thresholds: Fields = {
        "max_connections": limit(pool.max_connections),
        "max_pending_requests": limit(pool.max_pending_requests),
        "max_requests": limit(pool.max_requests),
        "track_remaining": True,
    }
    if policy.retry_budget is not None:
        thresholds["retry_budget"] = {
            "budget_percent": {"value": policy.retry_budget.share / 10_000},
            "min_retry_concurrency": {"value": policy.retry_budget.min_concurrency},
        }
    else:
        thresholds["max_retries"] = limit(pool.max_retries)
    return {"thresholds": [thresholds]}


def outlier(outlier: OutlierDetection | None) -> Fields:
    """Return outlier detection and the panic threshold; nothing where none is wanted."""
    if outlier is None:
        return {}
    fields: Fields = {
        "consecutive_5xx": {"value": outlier.consecutive_5xx},
        "enforcing_consecutive_5xx": {"value": 100 if outlier.consecutive_5xx else 0},
        "consecutive_gateway_failure": {"value": outlier.consecutive_gateway_errors},
        "enforcing_consecutive_gateway_failure": {"value": 100 if outlier.consecutive_gateway_errors else 0},
        "interval": duration(outlier.interval),
        "base_ejection_time": duration(outlier.base_ejection_time),
        "max_ejection_percent": {"value": outlier.max_ejection_percent},
        "enforcing_success_rate": {"value": 0},
    }
    if outlier.split_local_origin:
        fields["split_external_local_origin_errors"] = True
        fields["consecutive_local_origin_failure"] = {"value": outlier.consecutive_local_origin_failures}
        fields["enforcing_local_origin_success_rate"] = {"value": 0}
    panic = {"healthy_panic_threshold": {"value": outlier.min_health_percent}}
    return {"outlier_detection": fields, "common_lb_config": panic}


def _http_options(wire: Wire, pool: ConnectionPool) -> Fields:
    common: Fields = {}
    if pool.http_idle_timeout is not None:
        common["idle_timeout"] = duration(pool.http_idle_timeout)
    if pool.max_requests_per_connection is not None:
        common["max_requests_per_connection"] = {"value": pool.max_requests_per_connection}
    http2: Fields = {}
    if pool.max_concurrent_streams is not None:
        http2["max_concurrent_streams"] = {"value": pool.max_concurrent_streams}
    options: Fields
    match wire:
        case "http2":
            options = {"explicit_http_config": {"http2_protocol_options": http2}}
        case "downstream":
            options = {
                "use_downstream_protocol_config": {
                    "http_protocol_options": {},
                    "http2_protocol_options": http2,
                }
            }
        case _ if common:
            options = {"explicit_http_config": {"http_protocol_options": {}}}
        case _:
            return {}
    if common:
        options["common_http_protocol_options"] = common
    return {"typed_extension_protocol_options": {_HTTP_OPTIONS: pack(_HTTP_OPTIONS, options)}}


def _keep_alive(pool: ConnectionPool) -> Fields:
    if pool.keep_alive is None:
        return {}
    fields: Fields = {}
    if pool.keep_alive.probes is not None:
        fields["keepalive_probes"] = {"value": pool.keep_alive.probes}
    if pool.keep_alive.time is not None:
        fields["keepalive_time"] = {"value": pool.keep_alive.time // 1000}
    if pool.keep_alive.interval is not None:
        fields["keepalive_interval"] = {"value": pool.keep_alive.interval // 1000}
    return {"upstream_connection_options": {"tcp_keepalive": fields}}


def _metadata(service: Service, name: ClusterName) -> Fields:
    """What telemetry labels destinations by (Istio's ``istio`` cluster metadata)."""
    # The name of an RPC service is no host whose first label would say something.
    is_published = service.origin.startswith(ORIGIN)
    short = service.key.host if is_published else service.key.host.split(".", 1)[0]
    entry: dict[str, Any] = {"host": service.key.host, "name": short, "namespace": service.key.namespace}
    values: dict[str, Any] = {"services": [entry], "default_original_port": name.port}
    if name.subset:
        values["subset"] = name.subset
    return {"filter_metadata": {"istio": struct(values)}}


def _inbound_source() -> Fields:
    return {"source_address": {"address": INBOUND_SOURCE, "port_value": 0}}


def socket_address(address: str, port: int) -> Fields:
    """Return a core.v3.Address of a TCP socket."""
    return {"socket_address": {"address": address, "port_value": port}}


def _application_address(endpoint: str) -> Fields:
    if endpoint.startswith("unix://"):
        return {"pipe": {"path": endpoint.removeprefix("unix://")}}
    address, _, port = endpoint.rpartition(":")
    return socket_address(address.strip("[]"), int(port))


def _host(address: Fields, weight: int) -> Fields:
    return {"endpoint": {"address": address}, "load_balancing_weight": {"value": weight}}


def _assignment(name: str, hosts: list[Fields]) -> Fields:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}] if hosts else []}
