"""Mesh: the file of ``mainstay up``, a whole mesh on one machine.

In: YAML or JSON, through the decoder. Out: ``Mesh``, read by ``up``. It is no object of the control plane and is not stored.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from mainstay.api.define import (
    Anything,
    Count,
    Duration,
    Labels,
    Length,
    Part,
    Pattern,
    Port,
    Range,
    Unit,
)
from mainstay.api.mainstay.mesh_settings import MeshSettings
from mainstay.api.object import NAMESPACE

NAME = Pattern(
    r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?",
    "at most 40 lower-case letters, digits and '-', beginning with a letter",
)
Name = Annotated[str, NAME]


class MeshPort(Part, frozen=True, kw_only=True):
    """A port of a service."""

    name: Annotated[str, "Name; a prefix such as `http-` tells the protocol.", Length(0, 63)] = ""
    number: Annotated[Port, "Number that clients use."]
    protocol: Annotated[
        Name | None,
        "What is spoken: `http`, `http2`, `grpc`, `tcp`, or the name of a Protocol such as `bolt`; detected if absent.",
    ] = None


class MeshService(Part, frozen=True):
    """A service; its workloads name it."""

    name: Annotated[Name, "Name; clients find its address in `<NAME>_ADDR`."]
    ports: Annotated[tuple[MeshPort, ...], "Ports.", Length(1, 16)]


class MeshProbe(Part, frozen=True):
    """How an application shows that it serves."""

    path: Annotated[str | None, "HTTP path to GET; a mere TCP connection if absent."] = None
    period: Annotated[Duration, "Time between probes."] = 1_000
    timeout: Annotated[Duration, "Limit of one probe."] = 1_000
    failures: Annotated[Count, "Failures in a row that take it out.", Range(1, 100)] = 3


class MeshWorkload(Part, frozen=True):
    """One application: `instances` processes of `command`, each with an address and a proxy."""

    name: Annotated[Name, "Name, unique among workloads and gateways."]
    command: Annotated[
        tuple[str, ...],
        "Program and arguments, run in the file's folder without a shell; `$NAME` stands for a variable of its environment. It"
        " listens on `$HOST` and `$PORT`.",
        Length(1, 256),
    ]
    service: Annotated[Name | None, "Service it is behind; none for a mere client."] = None
    version: Annotated[str, "Label `version`, by which subsets select it.", Length(1, 63)] = "v1"
    env: Annotated[Labels, "Further environment variables.", Length(0, 256)] = {}
    needs: Annotated[
        tuple[Literal["python", "node", "java", "go"], ...],
        "Run-times without which it is left out.",
        Length(0, 16),
    ] = ()
    calls: Annotated[
        tuple[Name, ...], "Services it may call, each handed over as `<SERVICE>_ADDR`.", Length(0, 256)
    ] = ()
    probe: Annotated[MeshProbe | None, "Health check; a TCP connection if absent."] = None
    instances: Annotated[Count, "Instances.", Range(1, 64)] = 1
    proxy: Annotated[
        Literal["mainstay", "envoy", "grpc", "none"],
        "What stands beside the application: a sidecar of Mainstay's, or an Envoy; `grpc`: nothing, its own gRPC library takes"
        " part (it finds `GRPC_XDS_BOOTSTRAP`, and in `<SERVICE>_ADDR` an `xds:///` target); `none`: it is outside the mesh.",
    ] = "mainstay"
    registry: Annotated[
        Literal["own", "localhost"] | None,
        "The sidecar serves the registry API of SOFARPC's clients, on port 13330, and takes their calls on 12220: `own`: at the"
        " workload's own loopback address, handed over as `REGISTRY_ADDR`; `localhost`: at 127.0.0.1, for clients that know no"
        " other address (one workload on the machine). The application serves RPC at `$HOST` and `$RPC_PORT`.",
    ] = None


class MeshGateway(Part, frozen=True):
    """A proxy at the edge, with the label `istio: <name>`."""

    name: Annotated[Name, "Name, unique among workloads and gateways."]
    port: Annotated[int, "Port to listen on, 0 any free one.", Range(0, 65_535)] = 0
    proxy: Annotated[Literal["mainstay", "envoy"], "Which proxy it is."] = "mainstay"


class MeshLoad(Part, frozen=True):
    """Requests made while the mesh runs, from outside of it."""

    to: Annotated[Name, "Gateway."]
    rate: Annotated[float, "Requests a second.", Range(0.01, 100_000), Unit("requests a second")]
    path: Annotated[str, "HTTP path."] = "/"
    connections: Annotated[Count, "Connections they share.", Range(1, 1_024)] = 16


class MeshStep(Part, frozen=True):
    """A change made while the mesh runs."""

    after: Annotated[Duration, "When, counted from the moment that load begins."]
    apply: Annotated[tuple[Anything, ...], "Objects, or paths of files with objects.", Length(1, 64)]
    note: Annotated[str, "Line shown when it happens.", Length(0, 200)] = ""


class MeshExpectedPair(Part, frozen=True, kw_only=True):
    """What must hold for one source calling one destination."""

    source: Annotated[str, "Service, workload or gateway that calls.", Length(1, 63)] = msgspec.field(
        name="from"
    )
    destination: Annotated[str, "Service that is called.", Length(1, 63)] = msgspec.field(name="to")
    requests: Annotated[Count, "Requests (connections, for TCP) there must have been at least."] = 1
    p99: Annotated[Duration | None, "What 99 of 100 requests must have stayed below."] = None
    mtls: Annotated[bool | None, "Whether all of them were mutual TLS."] = None
    versions: Annotated[
        dict[str, Annotated[float, Range(0, 100)]],
        "Least share of the destination's versions, in percent.",
        Length(0, 16),
    ] = {}


class MeshExpectation(Part, frozen=True, kw_only=True):
    """What must hold at the end; else `mainstay up` exits with 1."""

    failures: Annotated[Count, "Failed requests that are tolerated, of the load and between workloads."] = 0
    mtls: Annotated[bool | None, "Whether every pair inside the mesh uses mutual TLS."] = None
    pairs: Annotated[tuple[MeshExpectedPair, ...], "What must hold for single pairs.", Length(0, 256)] = ()


class Mesh(Part, frozen=True, kw_only=True):
    """A mesh on one machine: services, workloads with their commands, gateways, configuration, load and steps. `mainstay
    up` starts all of it and ends all of it."""

    namespace: Annotated[str, "Namespace of everything in the file.", NAMESPACE] = "default"
    settings: Annotated[MeshSettings | None, "What holds for the whole mesh."] = None
    services: Annotated[tuple[MeshService, ...], "Services.", Length(0, 256)] = ()
    workloads: Annotated[tuple[MeshWorkload, ...], "Applications.", Length(1, 256)]
    gateways: Annotated[tuple[MeshGateway, ...], "Gateways.", Length(0, 16)] = ()
    config: Annotated[tuple[Anything, ...], "Objects, or paths of files with objects.", Length(0, 256)] = ()
    load: Annotated[tuple[MeshLoad, ...], "Load.", Length(0, 64)] = ()
    steps: Annotated[tuple[MeshStep, ...], "Changes while it runs.", Length(0, 64)] = ()
    expect: Annotated[MeshExpectation | None, "What must hold at the end; no failed request if absent."] = (
        None
    )
    hints: Annotated[tuple[str, ...], "What to try next, shown at the end of start-up.", Length(0, 16)] = ()
