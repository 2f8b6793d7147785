"""What `up` is told: the Mesh document as plain values.

In: made by `read` from a decoded Mesh object. Out: `MeshFile`. Times in milliseconds. Invariant: names are DNS labels and unique
among workloads and gateways, since they become host names, identities and folder names; what is named exists.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Runtime = Literal["python", "node", "java", "go"]
PROTOCOLS = ("http", "http2", "grpc", "tcp")
"""What a service port may speak besides what is described."""
WorkloadProxy = Literal["mainstay", "envoy", "grpc", "none"]
RegistryPlace = Literal["", "own", "localhost"]
"""Where the sidecar serves the registry API to the application: not at all, at the workload's address, at 127.0.0.1."""
GatewayProxy = Literal["mainstay", "envoy"]


class Port(msgspec.Struct, frozen=True):
    """A service port: `protocol` is http, http2, grpc, tcp, the name of a described one, or empty to detect."""

    number: int
    name: str = ""
    protocol: str = ""

    @property
    def shown_name(self) -> str:
        """The name that objects use."""
        return self.name or self.protocol or f"port-{self.number}"


class Service(msgspec.Struct, frozen=True):
    name: str
    ports: tuple[Port, ...]


class Probe(msgspec.Struct, frozen=True):
    """How an application shows that it serves: an HTTP path, else a TCP connection."""

    path: str = ""
    period: int = 1_000
    timeout: int = 1_000
    failures: int = 3


class Workload(msgspec.Struct, frozen=True):
    """One application: `instances` processes of `command`, each with an address and, unless `proxy` is none, a part in the mesh:
    by a sidecar (mainstay, envoy), or through its own gRPC library (grpc).

    `calls` are the services it may call, each handed over as `<SERVICE>_ADDR`. `needs` names run-times without which the
    workload is left out.
    """

    name: str
    command: tuple[str, ...]
    service: str = ""
    version: str = "v1"
    env: dict[str, str] = {}
    needs: tuple[Runtime, ...] = ()
    calls: tuple[str, ...] = ()
    probe: Probe = Probe()
    instances: int = 1
    proxy: WorkloadProxy = "mainstay"
    registry: RegistryPlace = ""


class Gateway(msgspec.Struct, frozen=True):
    """A proxy at the edge; `port` 0 lets the system choose."""

    name: str
    port: int = 0
    proxy: GatewayProxy = "mainstay"


class Load(msgspec.Struct, frozen=True):
    """Requests per second to a path of a gateway, from outside the mesh."""

    to: str
    rate: float
    path: str = "/"
    connections: int = 16


class Text(msgspec.Struct, frozen=True):
    """Objects as the control plane takes them: YAML or JSON, and the file they came from."""

    file: str
    text: str


class Step(msgspec.Struct, frozen=True):
    """Objects applied `after` milliseconds of load."""

    after: int
    apply: tuple[Text, ...]
    note: str = ""


class ExpectedPair(msgspec.Struct, frozen=True):
    """What must hold for one pair; `versions`: least share in percent."""

    source: str
    destination: str
    requests: int = 1
    p99: int | None = None
    mtls: bool | None = None
    versions: dict[str, float] = {}


class Expectation(msgspec.Struct, frozen=True):
    """What must hold at the end."""

    failures: int = 0
    mtls: bool | None = None
    pairs: tuple[ExpectedPair, ...] = ()


class MeshFile(msgspec.Struct, frozen=True):
    """A whole mesh. `settings` is the spec of its MeshSettings, as JSON values; `directory`: where commands run and paths
    start."""

    name: str
    directory: str
    namespace: str = "default"
    settings: dict[str, Any] = {}
    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    config: tuple[Text, ...] = ()
    authored: frozenset[str] = frozenset()
    """What `config` holds, as `Kind/namespace/name`."""
    load: tuple[Load, ...] = ()
    steps: tuple[Step, ...] = ()
    expect: Expectation = Expectation()
    hints: tuple[str, ...] = ()
    """What to try next, shown at the end of start-up."""

    @property
    def trust_domain(self) -> str:
        return str(self.settings.get("trustDomain", "cluster.local"))

    @property
    def domain_suffix(self) -> str:
        return str(self.settings.get("domainSuffix", "cluster.local"))

    @property
    def root_namespace(self) -> str:
        return str(self.settings.get("rootNamespace", "istio-system"))
