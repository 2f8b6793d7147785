"""ServiceEntry and WorkloadEntry as authors write them (networking.istio.io; service_entry.proto, workload_entry.proto).

In: YAML or JSON, through the decoder. Out: ``ServiceEntry``, ``WorkloadEntry``, read by their translators. They share a file
because a ServiceEntry holds WorkloadEntries.
"""

from __future__ import annotations

from typing import Annotated, Literal

from mainstay.api.define import Labels, Length, NotYetValue, Part, Port, Range
from mainstay.api.istio.selector import WorkloadSelector


class WorkloadEntry(Part, frozen=True):
    """One instance of a workload outside Kubernetes: an address with labels and an identity."""

    address: Annotated[
        str | None, "IP address, or a DNS name where the service's resolution is DNS.", Length(1, 253)
    ] = None
    ports: Annotated[dict[str, Port], "Port numbers here by the service's port names.", Length(0, 128)] = {}
    labels: Annotated[Labels, "Labels, by which services and subsets select it.", Length(0, 256)] = {}
    network: Annotated[str | None, "Network; endpoints of one network reach each other directly."] = None
    locality: Annotated[str | None, "`region/zone/subzone`."] = None
    weight: Annotated[
        int | None, "Share of the traffic relative to other endpoints; 1 if absent.", Range(0, 65_535)
    ] = None
    service_account: Annotated[str | None, "Account of its identity, in the object's namespace."] = None


class ServicePort(Part, frozen=True, kw_only=True):
    """A port of a service."""

    number: Annotated[Port, "Number that clients use."]
    protocol: Annotated[
        Literal["HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "MONGO", "MYSQL", "REDIS", "TCP", "TLS", "UDP"]
        | None,
        "What the port speaks; by the name's prefix or detected if absent.",
        NotYetValue(("UDP",), "UDP"),
        NotYetValue(("GRPC-WEB",), "gRPC-Web"),
    ] = None
    name: Annotated[
        str, "Name, unique in the object; a prefix such as `http-` tells the protocol.", Length(1, 63)
    ]
    target_port: Annotated[Port | None, "Number where endpoints listen; `number` if absent."] = None


class ServiceEntry(Part, frozen=True):
    """A service the mesh cannot find by itself: hosts, ports, and where their endpoints are."""

    hosts: Annotated[
        tuple[str, ...], "Hosts; `*.suffix` only with resolution NONE or endpoints.", Length(1, 256)
    ]
    addresses: Annotated[
        tuple[str, ...], "Virtual IPs or CIDR blocks, for interception.", Length(0, 256)
    ] = ()
    ports: Annotated[tuple[ServicePort, ...], "Ports.", Length(0, 256)] = ()
    location: Annotated[
        Literal["MESH_EXTERNAL", "MESH_INTERNAL"],
        "Outside the mesh (never spoken to in mesh mTLS), or inside.",
    ] = "MESH_EXTERNAL"
    resolution: Annotated[
        Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"],
        "NONE: the address the client dialled · STATIC: endpoints by address · DNS: resolved by the proxy.",
        NotYetValue(("DNS_ROUND_ROBIN",), "logical DNS"),
        NotYetValue(("DYNAMIC_DNS",), "resolution per request"),
    ] = "NONE"
    endpoints: Annotated[
        tuple[WorkloadEntry, ...], "Endpoints, unless workloads are selected.", Length(0, 4096)
    ] = ()
    workload_selector: Annotated[
        WorkloadSelector | None, "Workloads of the namespace that are endpoints."
    ] = None
    export_to: Annotated[
        tuple[str, ...], "Namespaces that see it: `.`, `*`, `~` or names; all if absent."
    ] = ()
    subject_alt_names: Annotated[
        tuple[str, ...], "Names of which a server's certificate must carry one."
    ] = ()
