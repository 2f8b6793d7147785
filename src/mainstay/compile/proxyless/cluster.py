"""Clusters of a gRPC client.

In: ``GrpcClusterTraits``. Out: Cluster resources in the few forms gRPC takes: endpoints over EDS, or one name to resolve;
balanced in turn; one transport socket for all endpoints. That is mutual TLS where every endpoint takes it, else plain bytes: gRPC
cannot choose by endpoint.
"""

from mainstay.compile import names
from mainstay.compile.cluster import breakers, outlier, socket_address, subset_of, traffic_rule
from mainstay.compile.facts import Facts
from mainstay.compile.lookup import mtls_mode
from mainstay.compile.names import ClusterName
from mainstay.compile.proxyless.certificates import client_context
from mainstay.compile.proxyless.listener import unsupported
from mainstay.compile.resource import Fields, Ref, Resource, duration, make_resource
from mainstay.compile.traits import GrpcClusterTraits
from mainstay.model.problem import Problem
from mainstay.model.protocol import PortProtocol
from mainstay.model.service import Service
from mainstay.model.traffic import ClientTls, resolve


def compile_grpc_cluster(facts: Facts, traits: GrpcClusterTraits) -> Resource:
    """Compile a cluster; one whose service, port or subset is gone has no endpoints."""
    base = traits.base
    name = names.parse_cluster_name(base.name)
    service = facts.service(base.service) if base.service else None
    rule = traffic_rule(facts, base)
    port = service.port(name.port) if service is not None and name is not None else None
    subset = subset_of(rule, name)
    if name is None or service is None or port is None or (name.subset and subset is None):
        return make_resource("cluster", base.name, _over_eds(base.name), [Ref("endpoint", base.name)])
    policy = resolve(rule, subset, name.port)
    problems: list[Problem] = []
    refs: list[Ref] = []
    fields: Fields = _resolved(service, name) if service.resolution == "dns" else _over_eds(base.name)
    if service.resolution != "dns":
        refs.append(Ref("endpoint", base.name))
    if policy.balancing not in (None, "", "ROUND_ROBIN", "LEAST_REQUEST"):
        reason = f"gRPC's library does not balance by {policy.balancing}, and takes endpoints in turn"
        problems.append(unsupported(f"DestinationRule/{service.key}", reason, base.name))
    fields |= {
        "connect_timeout": duration(facts.mesh().connect_timeout),
        "circuit_breakers": breakers(policy),
        **outlier(policy.outlier),
    }
    if _is_mutual(facts, service, name, port.protocol, policy.tls):
        identities = (policy.tls.subject_alt_names if policy.tls else ()) or service.accounts
        fields["transport_socket"] = client_context(identities or facts.identities(service.key))
    elif policy.tls is not None and policy.tls.mode in ("SIMPLE", "MUTUAL"):
        reason = f"gRPC's library gets no certificates for TLS of mode {policy.tls.mode} here"
        problems.append(unsupported(f"DestinationRule/{service.key}", reason, base.name))
    return make_resource("cluster", base.name, fields, refs, problems)


def _over_eds(name: str) -> Fields:
    config = {"ads": {}, "resource_api_version": "V3"}
    source = {"service_name": name, "eds_config": config}
    return {"name": name, "type": "EDS", "eds_cluster_config": source, "lb_policy": "ROUND_ROBIN"}


def _resolved(service: Service, name: ClusterName) -> Fields:
    """gRPC resolves one name for a cluster."""
    port = service.port(name.port)
    number = port.target if port is not None else name.port
    endpoint = {"endpoint": {"address": socket_address(service.key.host, number)}}
    assignment = {"cluster_name": str(name), "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {
        "name": str(name),
        "type": "LOGICAL_DNS",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": assignment,
    }


def _is_mutual(
    facts: Facts, service: Service, name: ClusterName, protocol: PortProtocol, tls: ClientTls | None
) -> bool:
    """As written, else where every endpoint is in the mesh and demands or takes mutual TLS on this port."""
    if tls is not None:
        return tls.mode == "ISTIO_MUTUAL"
    if service.location == "external" or service.resolution != "endpoints":
        return False
    modes: set[str] = set()
    for entry in facts.endpoint_sets(service.key, name.port):
        for row in entry:
            shared = row.attributes
            namespace = shared.namespace or service.key.namespace
            mode = mtls_mode(facts, namespace, shared.labels, row.port)
            modes.add(mode if shared.meshed else "DISABLE")
    if not modes:
        modes.add(mtls_mode(facts, service.key.namespace, (), name.port))
    # Where the protocol is detected, a permissive port takes gRPC's TLS for the application's own.
    accepted = {"STRICT"} if protocol is PortProtocol.AUTO else {"STRICT", "PERMISSIVE"}
    return modes <= accepted
