"""A proxy's view: everything it should have now.

In: ``Facts`` and a ``Proxy``. Out: ``View``. ``plan`` decides which listeners and routes a proxy has; clusters and endpoints
follow from what those refer to, so that a proxy gets exactly what it uses. Each unit is a step whose traits are its cache
key: the graph passes its own ``run``, which looks a step up as a derived value; alone, ``run_step`` computes it.
"""

from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType

from mainstay.compile import names
from mainstay.compile.cluster import compile_cluster, compile_fixed_cluster, compile_inbound_cluster
from mainstay.compile.endpoints import compile_endpoints
from mainstay.compile.facts import Facts, restrict
from mainstay.compile.listener.bound import compile_bound_outbound
from mainstay.compile.listener.gateway import compile_gateway_listener
from mainstay.compile.listener.inbound import compile_inbound
from mainstay.compile.listener.outbound import compile_outbound, compile_virtual_outbound
from mainstay.compile.lookup import find_service, find_traffic_rule
from mainstay.compile.names import ClusterName
from mainstay.compile.plan import plan
from mainstay.compile.probe import compile_probe, plan_probe
from mainstay.compile.proxyless.cluster import compile_grpc_cluster
from mainstay.compile.proxyless.listener import compile_api_listener, compile_grpc_server
from mainstay.compile.proxyless.plan import plan_proxyless
from mainstay.compile.proxyless.route import compile_grpc_route
from mainstay.compile.resource import Kind, Ref, Resource
from mainstay.compile.route.table import compile_gateway_route, compile_route
from mainstay.compile.rpc.table import compile_rpc_route
from mainstay.compile.traits import (
    ApiListenerTraits,
    BoundOutboundTraits,
    ClusterTraits,
    EndpointsTraits,
    FixedClusterTraits,
    GatewayListenerTraits,
    GatewayRouteTraits,
    GrpcClusterTraits,
    GrpcRouteTraits,
    GrpcServerTraits,
    InboundClusterTraits,
    InboundTraits,
    OutboundTraits,
    ProbeTraits,
    Proxy,
    RouteTraits,
    RpcRouteTraits,
    Step,
    VirtualOutboundTraits,
)
from mainstay.model.key import ServiceKey
from mainstay.model.problem import Problem
from mainstay.model.traffic import resolve

ORDER: tuple[Kind, ...] = ("cluster", "endpoint", "listener", "route", "generic_route")
"""Kinds a view holds, in the order a proxy takes them; secrets are only named."""

NOBODY = ServiceKey("", "")
"""A service that is not there: gRPC has no cluster without endpoints but one whose endpoints it asks for."""

Run = Callable[[Facts, Step], Resource]


class View:
    """Kind → name → resource, immutable; equal by names and versions.

    ``secrets`` are the names of gateway certificates the resources refer to (the workload's own are not among them);
    ``problems`` what authors should know, in the order found, without repeats.
    """

    __slots__ = ("problems", "resources", "secrets")

    def __init__(
        self, resources: Mapping[Kind, Mapping[str, Resource]], problems: tuple[Problem, ...] = ()
    ) -> None:
        self.resources: Mapping[Kind, Mapping[str, Resource]] = MappingProxyType(
            {kind: MappingProxyType(dict(sorted(resources.get(kind, {}).items()))) for kind in ORDER}
        )
        self.problems = problems
        self.secrets: tuple[str, ...] = tuple(
            sorted(
                {
                    ref.name
                    for entries in self.resources.values()
                    for resource in entries.values()
                    for ref in resource.refers
                    if ref.kind == "secret" and "://" in ref.name
                }
            )
        )

    def get(self, kind: Kind, name: str) -> Resource | None:
        """Return a resource, or None."""
        return self.resources.get(kind, {}).get(name)

    def versions(self) -> dict[tuple[Kind, str], bytes]:
        """Return (kind, name) → version."""
        return {(kind, name): r.version for kind, held in self.resources.items() for name, r in held.items()}

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, View)
            and self.versions() == other.versions()
            and self.problems == other.problems
        )

    def __hash__(self) -> int:
        return hash(frozenset(self.versions().items()))


def compile_view(facts: Facts, proxy: Proxy, run: Run | None = None) -> View:
    """Return what ``proxy`` should have.

    ``run`` computes one step (default ``run_step``); the control plane passes one that caches by step and records
    dependencies. Every read of facts goes through ``facts``; the result depends on nothing else.
    """
    compute = run or run_step
    found: dict[Kind, dict[str, Resource]] = {kind: {} for kind in ORDER}
    planned = (
        plan_proxyless(facts, proxy)
        if proxy.capability.software == "grpc" and proxy.kind == "sidecar"
        else plan(facts, proxy)
    )
    problems: dict[Problem, None] = dict.fromkeys(planned.problems)
    steps = (*planned.steps, *plan_probe(facts, proxy))
    queue: deque[Step] = deque(steps)
    queued: set[Step] = set(steps)
    while queue:
        resource = compute(facts, queue.popleft())
        found[resource.kind].setdefault(resource.name, resource)
        problems.update(dict.fromkeys(resource.problems))
        for ref in resource.refers:
            step = _step_for(facts, proxy, ref)
            if step is not None and step not in queued:
                queued.add(step)
                queue.append(step)
    return View(found, tuple(problems))


def run_step(facts: Facts, step: Step) -> Resource:
    """Compute one resource; looks at nothing but ``facts`` and the step's traits."""
    match step:
        case ClusterTraits():
            return compile_cluster(facts, step)
        case FixedClusterTraits():
            return compile_fixed_cluster(facts, step)
        case InboundClusterTraits():
            return compile_inbound_cluster(facts, step)
        case EndpointsTraits():
            return compile_endpoints(facts, step)
        case RouteTraits():
            return compile_route(facts, step)
        case RpcRouteTraits():
            return compile_rpc_route(facts, step)
        case OutboundTraits():
            return compile_outbound(facts, step)
        case VirtualOutboundTraits():
            return compile_virtual_outbound(facts, step)
        case BoundOutboundTraits():
            return compile_bound_outbound(facts, step)
        case InboundTraits():
            return compile_inbound(facts, step)
        case GatewayListenerTraits():
            return compile_gateway_listener(facts, step)
        case GatewayRouteTraits():
            return compile_gateway_route(facts, step)
        case ProbeTraits():
            return compile_probe(facts, step)
        case ApiListenerTraits():
            return compile_api_listener(facts, step)
        case GrpcServerTraits():
            return compile_grpc_server(facts, step)
        case GrpcRouteTraits():
            return compile_grpc_route(facts, step)
        case GrpcClusterTraits():
            return compile_grpc_cluster(facts, step)


def consistent(view: View) -> tuple[Ref, ...]:
    """Return what the view refers to and lacks, sorted; empty means consistent. Secrets come from elsewhere."""
    missing = {
        ref
        for entries in view.resources.values()
        for resource in entries.values()
        for ref in resource.refers
        if ref.kind != "secret" and view.get(ref.kind, ref.name) is None
    }
    return tuple(sorted(missing))


def _step_for(facts: Facts, proxy: Proxy, ref: Ref) -> Step | None:
    """Return the step behind a reference; None for what the plan itself brings (routes, inbound clusters, secrets)."""
    labels = restrict(proxy.labels, facts.client_label_names())
    is_grpc = proxy.capability.software == "grpc"
    if ref.kind == "cluster":
        if (name := names.parse_cluster_name(ref.name)) is not None:
            service = find_service(facts, name.host, proxy.namespace)
            rule = find_traffic_rule(facts, service.key, proxy.namespace, labels) if service else None
            traits = ClusterTraits(
                ref.name,
                service.key if service else None,
                (rule.host, rule.key) if rule else None,
                proxy.capability.own_secrets,
            )
            return GrpcClusterTraits(traits) if is_grpc else traits
        if is_grpc:
            return GrpcClusterTraits(ClusterTraits(ref.name, None))
        return None if ref.name.startswith("inbound|") else FixedClusterTraits(ref.name)
    if ref.kind == "endpoint":
        name = names.parse_cluster_name(ref.name)
        found = _endpoints(facts, proxy, name) if name is not None else None
        if found is None and is_grpc:
            return EndpointsTraits(ref.name, NOBODY, 0)
        return found
    return None


def _endpoints(facts: Facts, proxy: Proxy, name: ClusterName) -> EndpointsTraits | None:
    labels = restrict(proxy.labels, facts.client_label_names())
    service = find_service(facts, name.host, proxy.namespace)
    if service is None:
        return None
    rule = find_traffic_rule(facts, service.key, proxy.namespace, labels)
    subset = rule.subset(name.subset) if rule else None
    pool = resolve(rule, subset, name.port).pool
    return EndpointsTraits(
        str(name),
        service.key,
        name.port,
        subset.labels if subset else (),
        proxy.capability.h2_tunnel and (pool is None or pool.h2_upgrade != "DO_NOT_UPGRADE"),
    )
