"""Sidecar as authors write it (networking.istio.io; source: istio/api sidecar.proto).

In: YAML or JSON, through the decoder. Out: ``Sidecar``, read by ``translate/sidecar``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from mainstay.api.define import Anything, Length, NotYet, NotYetValue, Part, Port
from mainstay.api.istio.destination_rule import ConnectionPoolSettings
from mainstay.api.istio.selector import WorkloadSelector

CaptureMode = Literal["DEFAULT", "IPTABLES", "NONE"]


class SidecarPort(Part, frozen=True):
    """The port of a listener."""

    number: Annotated[Port, "Port number."]
    protocol: Annotated[
        Literal["HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "MONGO", "MYSQL", "REDIS", "TCP", "TLS"] | None,
        "What is spoken; by the name's prefix or detected if absent.",
        NotYetValue(("GRPC-WEB",), "gRPC-Web"),
    ] = None
    name: Annotated[str | None, "Name; a prefix such as `http-` tells the protocol."] = None
    target_port: Annotated[int | None, "Old field.", NotYet("removed from Istio's API")] = None


class IstioIngressListener(Part, frozen=True):
    """An inbound listener and the application behind it."""

    port: Annotated[SidecarPort, "Where it listens."]
    bind: Annotated[str | None, "Address to listen on; the workload's if absent."] = None
    capture_mode: Annotated[CaptureMode, "NONE: bound to the port · IPTABLES: traffic is intercepted."] = (
        "DEFAULT"
    )
    default_endpoint: Annotated[
        str | None, "`127.0.0.1:port`, `0.0.0.0:port` or `unix:///path` of the application."
    ] = None
    tls: Annotated[Anything, "TLS of the listener.", NotYet("TLS of its own on a sidecar's listener")] = None
    connection_pool: Annotated[ConnectionPoolSettings | None, "Limits of connections that come in."] = None


class IstioEgressListener(Part, frozen=True, kw_only=True):
    """An outbound listener and the hosts that are reached through it."""

    port: Annotated[SidecarPort | None, "Port to listen on; all ports of the hosts if absent."] = None
    bind: Annotated[str | None, "Address to listen on, with a port; 127.0.0.1 if absent."] = None
    capture_mode: Annotated[
        CaptureMode, "NONE: the application dials the listener · IPTABLES: it is intercepted."
    ] = "DEFAULT"
    hosts: Annotated[
        tuple[str, ...],
        "`namespace/host`: namespace `*` any, `.` own, `~` none; host a name, `*.suffix` or `*`.",
        Length(1, 1024),
    ]


class OutboundTrafficPolicy(Part, frozen=True):
    """What happens to traffic for unknown hosts."""

    mode: Annotated[Literal["REGISTRY_ONLY", "ALLOW_ANY"], "Refuse it, or let it through as it is."] = (
        "REGISTRY_ONLY"
    )
    egress_proxy: Annotated[Anything, "Forward to a proxy.", NotYet("an egress proxy for unknown hosts")] = (
        None
    )


class Sidecar(Part, frozen=True):
    """What a group of proxies sees and where it listens."""

    workload_selector: Annotated[
        WorkloadSelector | None, "Workloads it is for; the whole namespace if absent."
    ] = None
    ingress: Annotated[
        tuple[IstioIngressListener, ...], "Inbound listeners; by the services if absent.", Length(0, 128)
    ] = ()
    egress: Annotated[
        tuple[IstioEgressListener, ...], "Outbound listeners; everything visible if absent.", Length(0, 1024)
    ] = ()
    inbound_connection_pool: Annotated[ConnectionPoolSettings | None, "Limits of all inbound listeners."] = (
        None
    )
    outbound_traffic_policy: Annotated[
        OutboundTrafficPolicy | None, "Unknown hosts; the mesh's setting if absent."
    ] = None
