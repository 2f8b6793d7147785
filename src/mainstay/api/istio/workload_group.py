"""WorkloadGroup as authors write it (networking.istio.io; source: istio/api workload_group.proto).

In: YAML or JSON, through the decoder. Out: ``WorkloadGroup``, read by ``translate/workload``; its probe shape also serves
``Mesh``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from mainstay.api.define import Count, Labels, Length, OneOf, Part, Port, Range
from mainstay.api.istio.service_entry import WorkloadEntry

HEARTBEAT = "mainstay.dev/probe-heartbeat"
"""Annotation: the protocol whose heartbeat a `tcpSocket` probe wants answered. Beside the spec, which is Istio's: an object with
it is taken by Istio too, where such a probe connects and no more."""

Seconds = Annotated[int, Range(0, 86_400)]
PositiveSeconds = Annotated[int, Range(1, 86_400)]


class HTTPHeader(Part, frozen=True):
    """A header of a probe."""

    name: Annotated[str, "Name.", Length(1, 256)]
    value: Annotated[str, "Value."] = ""


class HTTPHealthCheck(Part, frozen=True, kw_only=True):
    """GET; 200 to 399 is success."""

    path: Annotated[str, "Path."] = "/"
    port: Annotated[Port, "Port of the application."]
    host: Annotated[
        str | None,
        "Address to connect to; if absent, loopback in explicit mode, else the workload's address.",
    ] = None
    scheme: Annotated[Literal["HTTP", "HTTPS", "http", "https"], "Scheme."] = "HTTP"
    http_headers: Annotated[tuple[HTTPHeader, ...], "Headers to send.", Length(0, 32)] = ()


class TCPHealthCheck(Part, frozen=True, kw_only=True):
    """Connecting is success; with the annotation `mainstay.dev/probe-heartbeat: bolt` on the group, an answer to that protocol's
    heartbeat."""

    host: Annotated[
        str | None,
        "Address to connect to; if absent, loopback in explicit mode, else the workload's address.",
    ] = None
    port: Annotated[Port, "Port of the application."]


class ExecHealthCheck(Part, frozen=True):
    """Running a command with exit status 0 is success."""

    command: Annotated[tuple[str, ...], "Program and arguments.", Length(1, 64)]


class GrpcHealthCheck(Part, frozen=True):
    """`grpc.health.v1` answering SERVING is success."""

    port: Annotated[Port, "Port of the application."]
    service: Annotated[str, "Service name to ask for; the whole server if empty."] = ""


class ReadinessProbe(Part, frozen=True):
    """How the sidecar finds out whether the application can serve."""

    exclusive: ClassVar = (OneOf(("httpGet", "tcpSocket", "exec", "grpc")),)
    initial_delay_seconds: Annotated[Seconds, "Wait before the first probe."] = 0
    timeout_seconds: Annotated[PositiveSeconds, "Limit of one probe."] = 1
    period_seconds: Annotated[PositiveSeconds, "Time between probes."] = 10
    success_threshold: Annotated[Count, "Successes in a row that make it healthy.", Range(1, 1000)] = 1
    failure_threshold: Annotated[Count, "Failures in a row that make it unhealthy.", Range(1, 1000)] = 3
    http_get: Annotated[HTTPHealthCheck | None, "Probe by HTTP."] = None
    tcp_socket: Annotated[TCPHealthCheck | None, "Probe by connecting."] = None
    exec: Annotated[
        ExecHealthCheck | None,
        "Probe by a command, run beside the sidecar without a shell, if the sidecar allows it (`--probe-commands`).",
    ] = None
    grpc: Annotated[GrpcHealthCheck | None, "Probe by gRPC."] = None


class GroupMetadata(Part, frozen=True):
    """What each registered workload is given."""

    labels: Annotated[Labels, "Labels.", Length(0, 256)] = {}
    annotations: Annotated[Labels, "Annotations.", Length(0, 256)] = {}


class WorkloadGroup(Part, frozen=True, kw_only=True):
    """What workloads that register themselves have in common, as a Deployment has for pods."""

    metadata: Annotated[GroupMetadata | None, "Labels and annotations of each workload."] = None
    template: Annotated[WorkloadEntry, "Everything else but the address, which is the workload's own."]
    probe: Annotated[ReadinessProbe | None, "Health check; healthy as long as connected if absent."] = None
