"""What `up` starts, as decided by `plan`: values.

In: made by `plan`. Out: read by `objects`, `programs`, `run`.
"""

from __future__ import annotations

import msgspec

from mainstay.up.file import Gateway, MeshFile, Port, Workload

INSTANCE_LABEL = "mainstay.dev/instance"
SIDECARS = ("mainstay", "envoy")
"""Proxies that listen for a workload; gRPC's library does so itself."""


class Machine(msgspec.Struct, frozen=True):
    """What this machine offers."""

    runtimes: frozenset[str]
    own_addresses: bool
    """Every 127.x.y.z can be bound."""
    python: str


class Ports(msgspec.Struct, frozen=True):
    """Where a proxy serves its operators."""

    admin: int = 15_000
    health: int = 15_021
    metrics: int = 15_090


class Inbound(msgspec.Struct, frozen=True):
    """A port of the service: the sidecar listens at `listener`, the application at `application`; without a sidecar the two are
    one."""

    port: Port
    listener: int
    application: int


class Outbound(msgspec.Struct, frozen=True):
    """A port of a service that is called, and where the listener for it is bound."""

    service: str
    port: Port
    listener: int


class Registry(msgspec.Struct, frozen=True):
    """Where the sidecar serves the registry API (`port`) and takes calls (`data`); `inbound` is its own port for what the
    application publishes, which serves that at `application`."""

    address: str
    port: int
    data: int
    inbound: int
    application: int


class Instance(msgspec.Struct, frozen=True):
    """One process of an application with its sidecar."""

    name: str
    workload: Workload
    address: str
    inbound: tuple[Inbound, ...]
    outbound: tuple[Outbound, ...]
    environment: dict[str, str]
    labels: dict[str, str]
    ports: Ports
    registry: Registry | None = None

    @property
    def has_proxy(self) -> bool:
        """A program of ours stands beside it: a sidecar, or an agent beside another proxy."""
        return self.workload.proxy != "none"

    @property
    def has_sidecar(self) -> bool:
        """A proxy stands before it and listens for it."""
        return self.workload.proxy in SIDECARS

    @property
    def software(self) -> str:
        """What reports its figures, if anything does."""
        return self.workload.proxy


class GatewayInstance(msgspec.Struct, frozen=True):
    """A gateway; `listener` is its port for everybody, HTTP in clear text."""

    name: str
    gateway: Gateway
    address: str
    listener: int
    labels: dict[str, str]
    ports: Ports

    @property
    def software(self) -> str:
        return self.gateway.proxy


class LeftOut(msgspec.Struct, frozen=True):
    workload: str
    reason: str


class Plan(msgspec.Struct, frozen=True):
    mesh: MeshFile
    instances: tuple[Instance, ...]
    gateways: tuple[GatewayInstance, ...]
    objects: tuple[dict[str, object], ...]
    left_out: tuple[LeftOut, ...]
