"""Settings of the data plane: `mainstay sidecar` and `mainstay gateway`.

In and out: declarations only. Invariant: what listens for operators is on loopback by default; ports are Istio's. Read by
`mainstay.sidecar.main`, so it imports nothing that a sidecar may not load.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from mainstay.settings.define import Setting


def _port(doc: str) -> Setting:
    return Setting(doc + " 0 lets the system choose.", minimum=0, maximum=65_535, metavar="PORT")


def _address(doc: str) -> Setting:
    return Setting(doc, metavar="ADDRESS")


class ControlPlane(msgspec.Struct, frozen=True):
    """Where configuration and identity come from."""

    address: Annotated[str, Setting("Host and port of the control plane.", metavar="HOST:PORT")] = ""
    insecure: Annotated[
        bool, Setting("Speak plaintext to it, without an identity. For tests and first steps.")
    ] = False
    variant: Annotated[
        Literal["delta", "sotw"], Setting("Variant of xDS: only what changed, or the state of the world.")
    ] = "delta"
    join_token_file: Annotated[
        Path | None, Setting("File with the join token, needed until the first certificate is there.")
    ] = None


class Admin(msgspec.Struct, frozen=True):
    """Pages for operators."""

    bind: Annotated[
        str, _address("Address of the admin pages; anything but loopback needs beyond_loopback.")
    ] = "127.0.0.1"
    port: Annotated[int, _port("Port of the admin pages.")] = 15_000
    beyond_loopback: Annotated[bool, Setting("Allow an admin address that others can reach.")] = False


class Health(msgspec.Struct, frozen=True):
    """Readiness for orchestrators: /healthz/ready."""

    bind: Annotated[str, _address("Address of the readiness page.")] = "127.0.0.1"
    port: Annotated[int, _port("Port of the readiness page.")] = 15_021


class Metrics(msgspec.Struct, frozen=True):
    """Prometheus."""

    bind: Annotated[str, _address("Address of the metrics.")] = "127.0.0.1"
    port: Annotated[int, _port("Port of the metrics, /stats/prometheus.")] = 15_090


class Registry(msgspec.Struct, frozen=True):
    """What the application beside it registers: the RPC services it publishes and those it calls, as SOFARPC's `mesh` registry
    and its Python clients do it over HTTP."""

    enabled: Annotated[bool, Setting("Serve the registry API.")] = False
    bind: Annotated[
        str,
        _address(
            "Address of the API and of the port for calls: loopback, or one of the workload's own addresses."
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int, Setting("Port of the API. 0: it is not served.", minimum=0, maximum=65_535, metavar="PORT")
    ] = 13_330
    data_port: Annotated[
        int,
        Setting(
            "Port to which the application sends its calls. 0: none.",
            minimum=0,
            maximum=65_535,
            metavar="PORT",
        ),
    ] = 12_220
    application_host: Annotated[str, _address("Address at which the application serves RPC.")] = "127.0.0.1"
    application_port: Annotated[
        int,
        Setting(
            "Port at which the application serves RPC, unless it tells one (Java does not). 0: it serves none.",
            minimum=0,
            maximum=65_535,
            metavar="PORT",
        ),
    ] = 12_200
    inbound_port: Annotated[
        int,
        Setting(
            "Port of the workload's first address at which peers reach what it publishes: the sidecar's, unless connections are "
            "intercepted.",
            minimum=1,
            maximum=65_535,
            metavar="PORT",
        ),
    ] = 12_200
    protocol: Annotated[str, Setting("Protocol of the calls.")] = "bolt"


class Drain(msgspec.Struct, frozen=True):
    """How it stops."""

    min: Annotated[
        int,
        Setting(
            "Least time that inbound listeners stay open after the end was asked for.", unit="ms", minimum=0
        ),
    ] = 5_000
    max: Annotated[int, Setting("Time after which streams that are left are cut.", unit="ms", minimum=0)] = (
        45_000
    )


class Probe(msgspec.Struct, frozen=True):
    """Health of the application, told to the control plane. Without a port none is asked for here; a WorkloadGroup's probe
    comes from the control plane."""

    port: Annotated[
        int | None, Setting("Port of the application to probe.", minimum=1, maximum=65_535, metavar="PORT")
    ] = None
    host: Annotated[str, _address("Address of the application.")] = "127.0.0.1"
    path: Annotated[str, Setting("HTTP path to GET; empty: a TCP connection is enough.")] = ""
    period: Annotated[int, Setting("Time between probes.", unit="ms", minimum=10)] = 1_000
    timeout: Annotated[int, Setting("Limit of one probe.", unit="ms", minimum=10)] = 1_000
    failures: Annotated[int, Setting("Failures in a row that count as unhealthy.", minimum=1)] = 3
    commands: Annotated[
        bool,
        Setting(
            "Run the command of the WorkloadGroup's `exec` probe. Whoever may change the group can then run programs here, so it "
            "has to be allowed; without it such a probe counts as failed."
        ),
    ] = False
    user: Annotated[
        str, Setting("User whom commands run as; required, and only possible, if the sidecar is root.")
    ] = ""


class Log(msgspec.Struct, frozen=True):
    """The program's own log, on stderr."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Setting("Least level shown.")] = "info"
    levels: Annotated[
        tuple[str, ...],
        Setting(
            "Levels of single rooms, such as sidecar.intake=debug or engine.tls=debug.",
            metavar="ROOM=LEVEL,…",
        ),
    ] = ()
    format: Annotated[Literal["text", "json"], Setting("One line of text a message, or one JSON object.")] = (
        "text"
    )


class SidecarSettings(msgspec.Struct, frozen=True):
    """Runs the proxy: takes configuration over xDS, or from an Envoy bootstrap, and carries the traffic."""

    bootstrap: Annotated[
        Path | None,
        Setting(
            "Envoy v3 bootstrap (YAML or JSON) to start from, instead of the settings of the workload here."
        ),
    ] = None
    proxy: Annotated[
        Literal["mainstay", "envoy", "grpc"],
        Setting(
            "What carries the traffic: Mainstay's own engine; an Envoy that is started and looked after here; or gRPC's library "
            "inside the application, for which certificates and bootstrap are kept in the data directory."
        ),
    ] = "mainstay"
    proxy_path: Annotated[
        Path | None, Setting("Envoy's binary; without it, `envoy` is looked for in PATH.")
    ] = None
    lenient: Annotated[
        bool,
        Setting(
            "Leave out what the bootstrap, or a resource of the control plane it names, asks for and Mainstay does not do, "
            "and tell it in the log, instead of refusing it."
        ),
    ] = False
    workload: Annotated[str, Setting("Name of the workload.")] = ""
    namespace: Annotated[str, Setting("Its namespace.")] = "default"
    service_account: Annotated[
        str, Setting("Account of its identity; once there is a certificate, that one's counts.")
    ] = "default"
    group: Annotated[
        str,
        Setting("WorkloadGroup of its namespace into which it registers; a join token may name it instead."),
    ] = ""
    labels: Annotated[
        tuple[str, ...], Setting("Its labels, by which objects select it.", metavar="NAME=VALUE,…")
    ] = ()
    addresses: Annotated[
        tuple[str, ...], Setting("Addresses at which peers reach it.", metavar="ADDRESS,…")
    ] = ("127.0.0.1",)
    cluster: Annotated[str, Setting("Name of the estate it belongs to.")] = "Kubernetes"
    network: Annotated[str, Setting("Name of its network.")] = ""
    locality: Annotated[str, Setting("Where it runs.", metavar="REGION/ZONE/SUBZONE")] = ""
    trust_domain: Annotated[str, Setting("Trust domain of its identity.")] = "cluster.local"
    domain_suffix: Annotated[str, Setting("What short names of services end in.")] = "cluster.local"
    interception: Annotated[
        Literal["NONE", "REDIRECT"],
        Setting(
            "NONE: applications use listeners bound for them; REDIRECT: connections are redirected to the proxy."
        ),
    ] = "NONE"
    data: Annotated[
        Path | None,
        Setting(
            "Directory of the identity and the last good configuration; without it a restart begins from nothing."
        ),
    ] = None
    concurrency: Annotated[int, Setting("Worker threads.", minimum=1, maximum=1_024)] = 1
    max_connections: Annotated[
        int | None, Setting("Connections accepted at most; more are closed.", minimum=1)
    ] = None
    resend_unprocessed: Annotated[
        bool,
        Setting(
            "Send a request or TCP connection to another endpoint when the first surely has not processed it, whatever routes"
            " say of retries; false: fail it, as Envoy does."
        ),
    ] = True
    ready_file: Annotated[
        Path | None, Setting("File to write, as one JSON object, once it is ready: addresses in use.")
    ] = None
    control_plane: ControlPlane = ControlPlane()
    admin: Admin = Admin()
    health: Health = Health()
    metrics: Metrics = Metrics()
    registry: Registry = Registry()
    drain: Drain = Drain()
    probe: Probe = Probe()
    log: Log = Log()
