"""What compile steps may know of a proxy: the whole proxy for the planner, a few traits for each step.

In: the node of a connected proxy, made into ``Proxy`` by the control plane. Out: one struct per step; it is hashable and,
with the facts, the only input of its step, so it is the step's cache key: equal traits share one resource.
"""

from typing import Literal

import msgspec

from mainstay.compile.capability import Capability, OwnSecrets
from mainstay.model.key import Labels, ObjectKey, ServiceKey, WorkloadKey
from mainstay.model.protocol import PortProtocol
from mainstay.model.traffic import ConnectionPool

ProxyKind = Literal["sidecar", "gateway", "agent"]
"""An agent is our program beside a sidecar of other software: it carries no traffic, and speaks for the workload."""
Interception = Literal["REDIRECT", "NONE"]
CatchAll = Literal["passthrough", "refuse"]


class Proxy(msgspec.Struct, frozen=True, gc=False):
    """A proxy as the planner sees it.

    ``node`` is its xDS node id; ``addresses`` its workload's IPs, the first one is where explicit inbound listeners bind
    unless their Sidecar says otherwise. ``interception`` is ISTIO_META_INTERCEPTION_MODE; ``group`` the WorkloadGroup of its
    namespace into which it registers; ``proven``: a certificate proved who it is, without which it gets no secret.
    """

    node: str
    namespace: str
    kind: ProxyKind = "sidecar"
    labels: Labels = ()
    addresses: tuple[str, ...] = ()
    interception: Interception = "REDIRECT"
    capability: Capability = Capability()
    group: str = ""
    proven: bool = True

    @property
    def workload(self) -> WorkloadKey:
        """The workload it belongs to: its node id says so, which was compared with its certificate."""
        parts = self.node.split("~")
        return WorkloadKey(self.namespace, parts[2].rpartition(".")[0] if len(parts) == 4 else "")


class ClusterTraits(msgspec.Struct, frozen=True, gc=False):
    """An outbound cluster, as the planner has resolved it for a client: ``service`` None where there is none, ``rule`` the
    host and key of the traffic rule that applies. So clients of all namespaces that the same rule holds for share it."""

    name: str
    service: ServiceKey | None
    rule: tuple[str, ObjectKey] | None = None
    secrets: OwnSecrets = "agent"


class FixedClusterTraits(msgspec.Struct, frozen=True, gc=False):
    """A cluster that depends on no service: PassthroughCluster, InboundPassthroughCluster, BlackHoleCluster."""

    name: str


class InboundClusterTraits(msgspec.Struct, frozen=True, gc=False):
    """The cluster towards the application. ``endpoint``: ``address:port`` or ``unix:///path``; empty: the original
    destination."""

    port: int
    protocol: PortProtocol
    endpoint: str = ""
    pool: ConnectionPool | None = None


class EndpointsTraits(msgspec.Struct, frozen=True, gc=False):
    """Endpoints of a cluster: those of ``service`` and ``port`` that carry ``subset_labels``."""

    name: str
    service: ServiceKey
    port: int
    subset_labels: Labels = ()
    h2_tunnel: bool = False


class RouteTraits(msgspec.Struct, frozen=True, gc=False):
    """Routes of a sidecar's outbound HTTP for one port.

    ``services`` sorted. ``explicit``: a bound listener of one service, which takes any authority and rewrites it to the
    service's host. ``catch_all``: where unknown authorities go, None to answer 404. ``hosts``: those of VirtualServices
    that are no service. ``labels``: those of the client that matches speak of.
    """

    name: str
    namespace: str
    port: int
    services: tuple[ServiceKey, ...]
    explicit: bool = False
    catch_all: CatchAll | None = None
    hosts: tuple[str, ...] = ()
    labels: Labels = ()


class RpcRouteTraits(msgspec.Struct, frozen=True, gc=False):
    """RPC routes of one port. ``alone``: of one service, for calls to any RPC service; else its services are told by name,
    and ``rest`` takes the other calls. ``described``: ``Capability.described_protocols``."""

    name: str
    namespace: str
    port: int
    services: tuple[ServiceKey, ...]
    alone: bool = False
    rest: ServiceKey | None = None
    described: bool = True
    labels: Labels = ()


class RpcUse(msgspec.Struct, frozen=True, gc=False):
    """How a listener carries RPC: which described protocol (empty: those that first bytes tell), by which routes, and
    whether by its description or by a codec that the proxy has. ``protocols``: ``Capability.protocols``, where first bytes
    tell."""

    protocol: str
    route: str
    described: bool = True
    protocols: tuple[str, ...] | None = None


class OutboundTraits(msgspec.Struct, frozen=True, gc=False):
    """An outbound listener found by original destination: ``address`` ``0.0.0.0`` or a service's own."""

    address: str
    port: int
    namespace: str
    services: tuple[ServiceKey, ...]
    http_route: str = ""
    passthrough: bool = True
    labels: Labels = ()
    rpc: RpcUse | None = None


class VirtualOutboundTraits(msgspec.Struct, frozen=True, gc=False):
    """The listener interception redirects outbound connections to."""

    passthrough: bool


class BoundOutboundTraits(msgspec.Struct, frozen=True, gc=False):
    """An explicit outbound listener on ``address:port`` for ``service_port`` of the services."""

    address: str
    port: int
    service_port: int
    protocol: PortProtocol
    namespace: str
    services: tuple[ServiceKey, ...]
    http_route: str = ""
    labels: Labels = ()
    rpc: RpcUse | None = None


class InboundPort(msgspec.Struct, frozen=True, gc=False, order=True):
    """A port the workload serves, as its listener sees it; ``rpc`` names the described protocol it speaks."""

    number: int
    protocol: PortProtocol
    rpc: str = ""


class InboundTraits(msgspec.Struct, frozen=True, gc=False):
    """Inbound listener: bound to ``address:port`` (explicit), or virtualInbound with all ``ports`` (``address`` empty).

    ``labels`` and ``namespace`` are the workload's: policies select by them. ``mesh_alpns``,
    ``h2_tunnel``, ``secrets``, ``described`` and ``protocols`` are its Capability's.
    """

    namespace: str
    labels: Labels
    ports: tuple[InboundPort, ...]
    address: str = ""
    mesh_alpns: bool = False
    h2_tunnel: bool = False
    secrets: OwnSecrets = "agent"
    described: bool = True
    protocols: tuple[str, ...] | None = None


class GatewayServer(msgspec.Struct, frozen=True, gc=False, order=True):
    """A server of a gateway, by position."""

    gateway: ObjectKey
    index: int


class GatewayListenerTraits(msgspec.Struct, frozen=True, gc=False):
    """A gateway's listener: all servers of one address and port."""

    address: str
    port: int
    namespace: str
    labels: Labels
    servers: tuple[GatewayServer, ...]
    mesh_alpns: bool = False
    secrets: OwnSecrets = "agent"


class ApiListenerTraits(msgspec.Struct, frozen=True, gc=False):
    """What a gRPC client's target (``host:port``) leads to: routes."""

    name: str
    route: str


class GrpcServerTraits(msgspec.Struct, frozen=True, gc=False):
    """A gRPC server on ``address:port``; ``labels`` and ``namespace`` are the workload's: policies select by them."""

    name: str
    namespace: str
    labels: Labels
    address: str
    port: int


class GrpcRouteTraits(msgspec.Struct, frozen=True, gc=False):
    """Routes of a gRPC client for one service port: those of a sidecar's explicit listener, in gRPC's terms."""

    base: RouteTraits


class GrpcClusterTraits(msgspec.Struct, frozen=True, gc=False):
    """A cluster of a gRPC client."""

    base: ClusterTraits


class ProbeTraits(msgspec.Struct, frozen=True, gc=False):
    """The health check of a group's workloads, to be run beside the one at ``address``."""

    group: ObjectKey
    address: str


class GatewayRouteTraits(msgspec.Struct, frozen=True, gc=False):
    """Routes of a gateway: all plain HTTP servers of a port, or one TLS server."""

    name: str
    port: int
    namespace: str
    servers: tuple[GatewayServer, ...]


Step = (
    ClusterTraits
    | FixedClusterTraits
    | InboundClusterTraits
    | EndpointsTraits
    | RouteTraits
    | RpcRouteTraits
    | OutboundTraits
    | VirtualOutboundTraits
    | BoundOutboundTraits
    | InboundTraits
    | GatewayListenerTraits
    | GatewayRouteTraits
    | ProbeTraits
    | ApiListenerTraits
    | GrpcServerTraits
    | GrpcRouteTraits
    | GrpcClusterTraits
)
"""Any unit of compilation; ``view.run_step`` runs it."""
