"""Decides what `up` starts, and which objects it writes: pure.

In: `MeshFile` and what the machine has (`Machine`). Out: `Plan`: instances with their addresses and environments, objects as
dictionaries, and who is left out and why. Invariant: the same file gives the same addresses on the same machine (by digest
of the name), and no two listeners share address and port.

On Linux each instance has a loopback address of its own (127.x.y.z), so that ports are what the file says; elsewhere all share
127.0.0.1 and each listener gets a port of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from mainstay.model.digest import digest_of
from mainstay.up.file import Gateway, MeshFile, Port, Service, Workload
from mainstay.up.objects import objects_of
from mainstay.up.planned import (
    INSTANCE_LABEL,
    SIDECARS,
    GatewayInstance,
    Inbound,
    Instance,
    LeftOut,
    Machine,
    Outbound,
    Plan,
    Ports,
    Registry,
)

RUNTIMES = ("python", "node", "java", "go")
FIRST_OUTBOUND_PORT = 20_001
"""Outbound listeners of an instance count up from here, in the order of its services."""
APPLICATION_PORT_OFFSET = 10_000
"""The application listens this much above the port that its sidecar serves, on the same address."""
REGISTRY_PORT, REGISTRY_DATA_PORT, RPC_PORT = 13_330, 12_220, 12_200
"""SOFARPC's: of the registry API, of calls that go out, of calls that come in."""
FIRST_SHARED_PORT = 20_001
"""Where all share one address, listeners of all instances count up from here."""


class Places:
    """Hands out addresses and ports."""

    def __init__(
        self, mesh: str, own: bool, is_free: Callable[[str], bool], free_port: Callable[[str], int]
    ) -> None:
        self._mesh, self._own, self._is_free, self._free_port = mesh, own, is_free, free_port
        self._taken: set[str] = set()
        self._shared = itertools.count(FIRST_SHARED_PORT)

    def address(self, name: str) -> str:
        """127.x.y.z from the digest of the name; the next one while it is taken. Never 127.0.0.x: others use it."""
        if not self._own:
            return "127.0.0.1"
        seed = int.from_bytes(digest_of(f"{self._mesh}/{name}".encode())[:3], "big")
        for step in range(1 << 16):
            value = (seed + step * 257) % (1 << 24)
            high, middle, low = value >> 16, value >> 8 & 0xFF, value & 0xFF
            address = f"127.{high or 1}.{middle}.{low or 1}"
            if low != 255 and address not in self._taken and self._is_free(address):
                self._taken.add(address)
                return address
        raise ValueError("no loopback address is free")

    def port(self, wanted: int) -> int:
        """The wanted port of an address of one's own, or the next of the shared one."""
        return wanted if self._own else next(self._shared)

    def proxy(self) -> Ports:
        """Ports of a proxy's pages."""
        return Ports() if self._own else Ports(next(self._shared), next(self._shared), next(self._shared))

    def gateway(self, wanted: int, address: str) -> int:
        """The port a gateway was given, or any free one."""
        return wanted or self._free_port(address)


def plan(
    mesh: MeshFile,
    machine: Machine,
    is_free: Callable[[str], bool] = lambda _: True,
    free_port: Callable[[str], int] = lambda _: 8_080,
) -> Plan:
    """The plan. `is_free(address)` says whether a loopback address is unused on this machine; `free_port(address)` finds a port
    for a gateway that wants any."""
    left_out = [
        LeftOut(workload.name, f"needs {need}, which this machine does not have")
        for workload in mesh.workloads
        for need in workload.needs
        if need not in machine.runtimes
    ]
    gone = {entry.workload for entry in left_out}
    places = Places(mesh.name, machine.own_addresses, is_free, free_port)
    services = {service.name: service for service in mesh.services}
    instances = tuple(
        _instance(name, workload, mesh, places, services, machine)
        for workload in mesh.workloads
        if workload.name not in gone
        for name in _names(workload)
    )
    gateways = tuple(_gateway(gateway, places) for gateway in mesh.gateways)
    objects = tuple(objects_of(mesh, instances, gateways))
    return Plan(mesh, instances, gateways, objects, tuple(left_out))


def _names(workload: Workload) -> Iterator[str]:
    if workload.instances == 1:
        yield workload.name
    else:
        yield from (f"{workload.name}-{number + 1}" for number in range(workload.instances))


def _instance(
    name: str,
    workload: Workload,
    mesh: MeshFile,
    places: Places,
    services: dict[str, Service],
    machine: Machine,
) -> Instance:
    address = places.address(name)
    ports = services[workload.service].ports if workload.service else ()
    inbound = tuple(_inbound(port, workload.proxy in SIDECARS, places) for port in ports)
    called = ((service, port) for service in workload.calls for port in services[service].ports)
    outbound = tuple(
        Outbound(service, port, places.port(FIRST_OUTBOUND_PORT + index))
        for index, (service, port) in enumerate(called)
    )
    registry = _registry(workload, address, places)
    environment = {
        "HOST": address,
        "PORT": str(inbound[0].application) if inbound else "",
        "VERSION": workload.version,
        "INSTANCE": name,
        "PYTHON": machine.python,
        **_registry_environment(registry),
        **workload.env,
        **dict(_addresses(mesh, workload, address, outbound, services)),
    }
    labels = {"app": workload.service or workload.name, "version": workload.version, INSTANCE_LABEL: name}
    ports_of_proxy = places.proxy()
    return Instance(name, workload, address, inbound, outbound, environment, labels, ports_of_proxy, registry)


def _registry(workload: Workload, address: str, places: Places) -> Registry | None:
    if not workload.registry:
        return None
    own = workload.registry == "own"
    return Registry(
        address if own else "127.0.0.1",
        places.port(REGISTRY_PORT) if own else REGISTRY_PORT,
        places.port(REGISTRY_DATA_PORT) if own else REGISTRY_DATA_PORT,
        places.port(RPC_PORT),
        places.port(RPC_PORT + APPLICATION_PORT_OFFSET),
    )


def _registry_environment(registry: Registry | None) -> dict[str, str]:
    if registry is None:
        return {}
    return {
        "REGISTRY_ADDR": f"{registry.address}:{registry.port}",
        "REGISTRY_DATA_ADDR": f"{registry.address}:{registry.data}",
        "RPC_PORT": str(registry.application),
    }


def _inbound(port: Port, meshed: bool, places: Places) -> Inbound:
    listener = places.port(port.number)
    if not meshed:
        return Inbound(port, listener, listener)
    # Above 65535 - 10000 the offset is taken off instead.
    offset = (
        APPLICATION_PORT_OFFSET
        if port.number + APPLICATION_PORT_OFFSET <= 65_535
        else -APPLICATION_PORT_OFFSET
    )
    return Inbound(port, listener, places.port(port.number + offset))


def _addresses(
    mesh: MeshFile,
    workload: Workload,
    address: str,
    outbound: Iterable[Outbound],
    services: dict[str, Service],
) -> Iterator[tuple[str, str]]:
    """Where services are called: listeners of the sidecar, or targets for a gRPC library that asks the control plane itself."""
    for each in outbound:
        variable = each.service.upper().replace("-", "_")
        first = services[each.service].ports[0] == each.port
        name = f"{variable}_ADDR" if first else f"{variable}_{each.port.number}_ADDR"
        if workload.proxy == "grpc":
            host = f"{each.service}.{mesh.namespace}.svc.{mesh.domain_suffix}"
            yield name, f"xds:///{host}:{each.port.number}"
        else:
            yield name, f"{address}:{each.listener}"


def _gateway(gateway: Gateway, places: Places) -> GatewayInstance:
    address = places.address(gateway.name)
    labels = {"app": gateway.name, "istio": gateway.name, INSTANCE_LABEL: gateway.name}
    listener = places.gateway(gateway.port, address)
    return GatewayInstance(gateway.name, gateway, address, listener, labels, places.proxy())
