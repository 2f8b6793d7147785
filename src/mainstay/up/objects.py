"""The objects that `up` writes for a mesh: ordinary ones, that anyone could have applied.

In: the mesh's file and the planned instances. Out: Services, WorkloadGroups (a sidecar registers itself and enters rotation when
its probe passes), Sidecars with bound listeners, WorkloadEntries for what has no sidecar, a WorkloadEntry and a Gateway for
each gateway, the MeshSettings. Pure; called by `plan`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mainstay.api.mainstay.group import API_VERSION
from mainstay.up.file import PROTOCOLS, MeshFile, Port
from mainstay.up.planned import INSTANCE_LABEL, GatewayInstance, Instance

NETWORKING = "networking.istio.io/v1"

Written = dict[str, Any]


def objects_of(
    mesh: MeshFile, instances: Iterable[Instance], gateways: Iterable[GatewayInstance]
) -> Iterator[Written]:
    """All objects of a mesh; where its author wrote one of the same name, that one counts."""
    for each in _objects(mesh, instances, gateways):
        metadata = each["metadata"]
        if f"{each['kind']}/{metadata['namespace']}/{metadata['name']}" not in mesh.authored:
            yield each


def _objects(
    mesh: MeshFile, instances: Iterable[Instance], gateways: Iterable[GatewayInstance]
) -> Iterator[Written]:
    if mesh.settings:
        yield _object("MeshSettings", API_VERSION, mesh.root_namespace, "default", mesh.settings)
    yield from _services(mesh)
    for instance in instances:
        if instance.has_proxy:
            yield _group(mesh, instance)
            yield _sidecar(mesh, instance)
        elif instance.workload.service:
            yield _entry(mesh, instance)
    for gateway in gateways:
        yield _gateway_entry(mesh, gateway)
        yield _gateway(mesh, gateway)


def _object(kind: str, version: str, namespace: str, name: str, spec: Written) -> Written:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _services(mesh: MeshFile) -> Iterator[Written]:
    for service in mesh.services:
        ports = [
            {
                "name": port.shown_name,
                "number": port.number,
                **({"appProtocol": port.protocol} if port.protocol else {}),
            }
            for port in service.ports
        ]
        spec = {"ports": ports, "selector": {"app": service.name}}
        yield _object("Service", API_VERSION, mesh.namespace, service.name, spec)


def _numbers(instance: Instance) -> Written:
    """Where peers find the service's ports here, as far as that differs from the service's own numbers."""
    differing = {
        each.port.shown_name: each.listener for each in instance.inbound if each.listener != each.port.number
    }
    return {"ports": differing} if differing else {}


def _entry(mesh: MeshFile, instance: Instance) -> Written:
    spec = {
        "address": instance.address,
        "labels": instance.labels,
        "serviceAccount": instance.workload.name,
        **_numbers(instance),
    }
    return _object("WorkloadEntry", NETWORKING, mesh.namespace, instance.name, spec)


def _group(mesh: MeshFile, instance: Instance) -> Written:
    probe = instance.workload.probe
    template = {"serviceAccount": instance.workload.name, "labels": instance.labels, **_numbers(instance)}
    spec: Written = {"metadata": {"labels": instance.labels}, "template": template}
    if instance.inbound:
        place = {"port": instance.inbound[0].application, "host": instance.address}
        check = {"httpGet": {"path": probe.path, **place}} if probe.path else {"tcpSocket": place}
        spec["probe"] = {
            **check,
            "periodSeconds": max(1, probe.period // 1_000),
            "timeoutSeconds": max(1, probe.timeout // 1_000),
            "failureThreshold": probe.failures,
        }
    return _object("WorkloadGroup", NETWORKING, mesh.namespace, instance.name, spec)


def _port(port: Port, number: int) -> Written:
    name = port.shown_name
    if port.protocol in PROTOCOLS:
        return {"number": number, "name": name, "protocol": port.protocol.upper()}
    # Of what is described only names tell, as in Kubernetes.
    if port.protocol and name.partition("-")[0] != port.protocol:
        name = f"{port.protocol}-{number}"
    return {"number": number, "name": name}


def _sidecar(mesh: MeshFile, instance: Instance) -> Written:
    selector = {"workloadSelector": {"labels": {INSTANCE_LABEL: instance.name}}}
    if not instance.has_sidecar:
        # It asks for listeners by name; this says which there are.
        hosts = sorted({_host(mesh, each.service) for each in instance.outbound})
        scope = {**selector, "egress": [{"hosts": hosts or ["~/*"]}]}
        return _object("Sidecar", NETWORKING, mesh.namespace, instance.name, scope)
    ingress = [
        {
            "port": _port(each.port, each.listener),
            "bind": instance.address,
            "captureMode": "NONE",
            "defaultEndpoint": f"{instance.address}:{each.application}",
        }
        for each in instance.inbound
    ]
    egress = [
        {
            "port": _port(each.port, each.listener),
            "bind": instance.address,
            "captureMode": "NONE",
            "hosts": [_host(mesh, each.service)],
        }
        for each in instance.outbound
    ]
    spec: Written = dict(selector)
    if ingress:
        spec["ingress"] = ingress
    spec["egress"] = egress or [{"hosts": ["~/*"]}]
    return _object("Sidecar", NETWORKING, mesh.namespace, instance.name, spec)


def _host(mesh: MeshFile, service: str) -> str:
    return f"./{service}.{mesh.namespace}.svc.{mesh.domain_suffix}"


def _gateway_entry(mesh: MeshFile, gateway: GatewayInstance) -> Written:
    """What lets the holder of this account be a gateway, with these labels."""
    spec = {"address": gateway.address, "labels": gateway.labels, "serviceAccount": gateway.name}
    return _object("WorkloadEntry", NETWORKING, mesh.namespace, gateway.name, spec)


def _gateway(mesh: MeshFile, gateway: GatewayInstance) -> Written:
    """Takes every host; VirtualServices that name it say where to."""
    server = {
        "port": {"number": gateway.listener, "name": "http", "protocol": "HTTP"},
        "bind": gateway.address,
        "hosts": ["*"],
    }
    spec = {"selector": {INSTANCE_LABEL: gateway.name}, "servers": [server]}
    return _object("Gateway", NETWORKING, mesh.namespace, gateway.name, spec)
