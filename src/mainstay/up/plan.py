"""Decides what `up` starts, and which objects it writes: pure.

In: `MeshFile` and what the machine has (`Machine`). Out: `Plan`: instances with their addresses and environments, objects as
dictionaries, and who is left out and why. Invariant: the same file gives the same addresses on the same machine (by digest
of the name), and no two instances share one.

On Linux each instance has a loopback address of its own (127.x.y.z), so that ports are what the file says; elsewhere all share
127.0.0.1 and ports are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from mainstay.model.digest import digest_of
from mainstay.up.file import Gateway, MeshFile, Port, Workload

GROUP = "mainstay.dev/v1alpha1"
NETWORKING = "networking.istio.io/v1"
INSTANCE_LABEL = "mainstay.dev/instance"
FIRST_OUTBOUND_PORT = 20_001
"""Outbound listeners of an instance count up from here, in the order of its services."""
APPLICATION_PORT_OFFSET = 10_000
"""The application listens this much above the port that its sidecar serves, on the same address."""


class Machine(msgspec.Struct, frozen=True):
    """What this machine offers."""

    runtimes: frozenset[str]
    own_addresses: bool
    """Every 127.x.y.z can be bound."""
    python: str


class Instance(msgspec.Struct, frozen=True):
    """One process of an application with its sidecar."""

    name: str
    workload: Workload
    address: str
    inbound: tuple[tuple[Port, int], ...]
    """Service ports with the port the application listens on behind each."""
    outbound: tuple[tuple[str, Port, int], ...]
    """Service, its port, and the port of the listener bound for it."""
    environment: dict[str, str]
    labels: dict[str, str]

    @property
    def has_sidecar(self) -> bool:
        return self.workload.proxy == "mainstay"


class GatewayInstance(msgspec.Struct, frozen=True):
    name: str
    gateway: Gateway
    address: str
    labels: dict[str, str]


class LeftOut(msgspec.Struct, frozen=True):
    workload: str
    reason: str


class Plan(msgspec.Struct, frozen=True):
    mesh: MeshFile
    instances: tuple[Instance, ...]
    gateways: tuple[GatewayInstance, ...]
    objects: tuple[dict[str, Any], ...]
    left_out: tuple[LeftOut, ...]


def plan(mesh: MeshFile, machine: Machine, is_free: Callable[[str], bool] = lambda _: True) -> Plan:
    """The plan. `is_free(address)` says whether a loopback address is unused on this machine."""
    left_out = [
        LeftOut(workload.name, f"needs {need}, which this machine does not have")
        for workload in mesh.workloads
        for need in workload.needs
        if need not in machine.runtimes
    ]
    gone = {entry.workload for entry in left_out}
    taken: set[str] = set()

    def address_of(name: str) -> str:
        return _address(f"{mesh.name}/{name}", taken, is_free) if machine.own_addresses else "127.0.0.1"

    services = {service.name: service for service in mesh.services}
    instances: list[Instance] = []
    for workload in mesh.workloads:
        if workload.name in gone:
            continue
        for number in range(workload.instances):
            name = workload.name if workload.instances == 1 else f"{workload.name}-{number + 1}"
            ports = services[workload.service].ports if workload.service else ()
            instances.append(_instance(name, workload, address_of(name), ports, services, machine))
    gateways = tuple(
        GatewayInstance(
            gateway.name, gateway, address_of(gateway.name), {"app": gateway.name, "istio": gateway.name}
        )
        for gateway in mesh.gateways
    )
    objects = [*_services(mesh), *(each for instance in instances for each in _objects(mesh, instance))]
    return Plan(mesh, tuple(instances), gateways, tuple(objects), tuple(left_out))


def _address(name: str, taken: set[str], is_free: Callable[[str], bool]) -> str:
    """127.x.y.z from the digest of the name; the next one while it is taken. Never 127.0.0.x: others use it."""
    seed = int.from_bytes(digest_of(name.encode())[:3], "big")
    for step in range(1 << 16):
        value = (seed + step * 257) % (1 << 24)
        high, middle, low = value >> 16, value >> 8 & 0xFF, value & 0xFF
        address = f"127.{high or 1}.{middle}.{low or 1}"
        if low != 255 and address not in taken and is_free(address):
            taken.add(address)
            return address
    raise ValueError("no loopback address is free")


def _instance(
    name: str,
    workload: Workload,
    address: str,
    ports: Iterable[Port],
    services: dict[str, Any],
    machine: Machine,
) -> Instance:
    meshed = workload.proxy == "mainstay"
    inbound = tuple(
        (port, port.number + APPLICATION_PORT_OFFSET if meshed else port.number) for port in ports
    )
    numbered = enumerate((called, port) for called in workload.calls for port in services[called].ports)
    outbound = tuple((called, port, FIRST_OUTBOUND_PORT + index) for index, (called, port) in numbered)
    environment = {
        "HOST": address,
        "PORT": str(inbound[0][1]) if inbound else "",
        "VERSION": workload.version,
        "INSTANCE": name,
        "PYTHON": machine.python,
        **workload.env,
    }
    for called, port, number in outbound:
        variable = called.upper().replace("-", "_")
        first = services[called].ports[0] == port
        environment[f"{variable}_ADDR" if first else f"{variable}_{port.number}_ADDR"] = f"{address}:{number}"
    labels = {"app": workload.service or workload.name, "version": workload.version, INSTANCE_LABEL: name}
    return Instance(name, workload, address, inbound, outbound, environment, labels)


def _object(kind: str, version: str, mesh: MeshFile, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": mesh.namespace},
        "spec": spec,
    }


def _port(port: Port) -> dict[str, Any]:
    named = {"number": port.number, "name": port.name or port.protocol or f"port-{port.number}"}
    return {**named, "protocol": port.protocol.upper()} if port.protocol else named


def _services(mesh: MeshFile) -> Iterable[dict[str, Any]]:
    for service in mesh.services:
        ports = [
            {
                "name": port.name or port.protocol or f"port-{port.number}",
                "number": port.number,
                **({"appProtocol": port.protocol} if port.protocol else {}),
            }
            for port in service.ports
        ]
        yield _object(
            "Service", GROUP, mesh, service.name, {"ports": ports, "selector": {"app": service.name}}
        )


def _objects(mesh: MeshFile, instance: Instance) -> Iterable[dict[str, Any]]:
    workload = instance.workload
    if instance.has_sidecar:
        yield _group(mesh, instance)
        yield _sidecar(mesh, instance)
    elif workload.service:
        entry = {"address": instance.address, "labels": instance.labels, "serviceAccount": workload.name}
        yield _object("WorkloadEntry", NETWORKING, mesh, instance.name, entry)


def _group(mesh: MeshFile, instance: Instance) -> dict[str, Any]:
    """The instance's sidecar registers it; it enters rotation when its probe passes."""
    probe = instance.workload.probe
    spec: dict[str, Any] = {
        "metadata": {"labels": instance.labels},
        "template": {"serviceAccount": instance.workload.name, "labels": instance.labels},
    }
    if instance.inbound:
        port = instance.inbound[0][1]
        check: dict[str, Any] = (
            {"httpGet": {"path": probe.path, "port": port, "host": instance.address}}
            if probe.path
            else {"tcpSocket": {"port": port, "host": instance.address}}
        )
        spec["probe"] = {
            **check,
            "periodSeconds": max(1, probe.period // 1_000),
            "timeoutSeconds": max(1, probe.timeout // 1_000),
            "failureThreshold": probe.failures,
        }
    return _object("WorkloadGroup", NETWORKING, mesh, instance.name, spec)


def _sidecar(mesh: MeshFile, instance: Instance) -> dict[str, Any]:
    ingress = [
        {
            "port": _port(port),
            "bind": instance.address,
            "captureMode": "NONE",
            "defaultEndpoint": f"{instance.address}:{number}",
        }
        for port, number in instance.inbound
    ]
    egress = [
        {
            "port": {**_port(port), "number": number},
            "bind": instance.address,
            "captureMode": "NONE",
            "hosts": [f"./{called}.{mesh.namespace}.svc.cluster.local"],
        }
        for called, port, number in instance.outbound
    ]
    spec: dict[str, Any] = {"workloadSelector": {"labels": {INSTANCE_LABEL: instance.name}}}
    if ingress:
        spec["ingress"] = ingress
    spec["egress"] = egress or [{"hosts": ["~/*"]}]
    return _object("Sidecar", NETWORKING, mesh, instance.name, spec)
