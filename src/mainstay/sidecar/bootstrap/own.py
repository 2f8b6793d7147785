"""A workload's settings to a `Boot`: its node as the control plane reads it, and the way to the control plane.

In: `SidecarSettings`. Out: `Boot` and the clusters of the control plane, one per degree of trust. Invariant: a cluster that
carries configuration or a token verifies the server by the mesh's roots and its SPIFFE ID; only the question for the roots
themselves goes out unverified, and its answer is checked by digest.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from mainstay._proto import pool
from mainstay.identity.join_wire import SERVER_NAME, Joined
from mainstay.model.application import MARK
from mainstay.model.had import PROTOCOLS_METADATA
from mainstay.protocols.native import protocols_had
from mainstay.settings.define import OperatorError
from mainstay.settings.sidecar import Probe, SidecarSettings
from mainstay.sidecar import plan
from mainstay.sidecar.bootstrap.boot import Boot, Dynamic
from mainstay.sidecar.convert.health_check import PROBE_PREFIX
from mainstay.sidecar.convert.source import Service
from mainstay.sidecar.convert.table import Converted, encode
from mainstay.sidecar.registry_api.place import check_registry
from mainstay.xds.messages import Node, encode_node

XDS_CLUSTER = "xds-grpc"
JOIN_CLUSTER = "mainstay-join"
FIRST_CLUSTER = "mainstay-first-contact"
LEAF, ROOTS = "default", "ROOTCA"
"""Secrets that proxies have of themselves, in Istio's names."""

KEEPALIVE_INTERVAL_MS, KEEPALIVE_TIMEOUT_MS = 30_000, 10_000
"""A control plane that vanished without a word is noticed within 40 s."""
CONNECT_MS = 5_000
USAGE = 2
AGENT = "agent"
SETTINGS, APPLICATION = "settings", "application"
"""Where probes of the sidecar's own come from: its settings, or what the application has registered."""
ACCOUNT_METADATA = "SERVICE_ACCOUNT"
GROUP_METADATA = "AUTO_REGISTER_GROUP"
"""Node metadata in Istio's names."""


def own_boot(settings: SidecarSettings, kind: str, version: str) -> Boot:
    """`kind`: sidecar or gateway. Raises `OperatorError` for settings that do not fit together.

    Beside a proxy of other software it is an agent's: that asks for the workload's probe alone, at a gateway for nothing.
    """
    if not settings.workload:
        raise OperatorError(f"mainstay {kind}: --workload or --bootstrap is required", USAGE)
    host, port = split_address(settings.control_plane.address, kind)
    static = []
    if settings.control_plane.insecure:
        static.append(Converted(encode(cluster_of(XDS_CLUSTER, host, port, None))))
    if settings.probe.port is not None:
        static.append(Converted(encode(probe_cluster(settings.probe, settings.probe.port))))
    if settings.registry.enabled:
        check_registry(settings, kind)
    alone = settings.proxy == "mainstay"
    dynamic = Dynamic(Service(XDS_CLUSTER, settings.control_plane.variant))
    if not alone:
        dynamic = msgspec.structs.replace(dynamic, listeners=None)
    role = kind if alone else AGENT
    return Boot(
        node=encode_node(node_of(settings, role, version)),
        node_id=node_id(settings, role),
        node_cluster=settings.workload,
        static=tuple(static),
        own_secrets=frozenset((LEAF, ROOTS)),
        dynamic=dynamic if alone or kind != "gateway" else None,
    )


def split_address(address: str, kind: str) -> tuple[str, int]:
    """`host:port`, also `[v6]:port`."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise OperatorError(
            f"mainstay {kind}: --control-plane-address must be HOST:PORT, not {address!r}", USAGE
        )
    return host, int(port)


def node_id(settings: SidecarSettings, kind: str) -> str:
    """Istio's form: kind, address, name and namespace, domain."""
    role = "router" if kind == "gateway" else kind
    workload = f"{settings.workload}.{settings.namespace}"
    domain = f"{settings.namespace}.svc.{settings.domain_suffix}"
    return f"{role}~{settings.addresses[0]}~{workload}~{domain}"


def labels_of(settings: SidecarSettings) -> dict[str, str]:
    labels = {}
    for entry in settings.labels:
        name, equals, value = entry.partition("=")
        if not name or not equals:
            raise OperatorError(f"--labels: {entry!r} is not NAME=VALUE", USAGE)
        labels[name] = value
    return labels


def node_of(settings: SidecarSettings, kind: str, version: str) -> Node:
    region, zone, sub_zone = (*settings.locality.split("/"), "", "", "")[:3]
    if not settings.addresses:
        raise OperatorError("--addresses: needs at least one", USAGE)
    for address in settings.addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise OperatorError(f"--addresses: {address!r} is not an IP address", USAGE) from None
    metadata: dict[str, object] = {
        "NAMESPACE": settings.namespace,
        "WORKLOAD_NAME": settings.workload,
        ACCOUNT_METADATA: settings.service_account,
        "LABELS": labels_of(settings),
        "INSTANCE_IPS": ",".join(settings.addresses),
        # gRPC's library is reached where the application itself listens: nothing stands before it.
        "INTERCEPTION_MODE": "REDIRECT" if settings.proxy == "grpc" else settings.interception,
        "CLUSTER_ID": settings.cluster,
        PROTOCOLS_METADATA: ",".join(protocols_had()),
    }
    if settings.registry.enabled:
        metadata[MARK] = True
    if settings.network:
        metadata["NETWORK"] = settings.network
    if settings.group:
        metadata[GROUP_METADATA] = settings.group
    return Node(
        node_id(settings, kind),
        settings.workload,
        metadata,
        f"mainstay/{version}",
        region,
        zone,
        sub_zone,
    )


def introduce(node: bytes, joined: Joined) -> bytes:
    """The node with the account of its certificate, and the group that the token named: what it could not know before."""
    message = pool.parse("envoy.config.core.v3.Node", node)
    account = joined.identity.rpartition("/sa/")[2]
    if account:
        message.metadata.fields[ACCOUNT_METADATA].string_value = account
    group = joined.group.rpartition("/")[2]
    if group and GROUP_METADATA not in message.metadata.fields:
        message.metadata.fields[GROUP_METADATA].string_value = group
    return bytes(message.SerializeToString(deterministic=True))


def cluster_of(name: str, host: str, port: int, tls: plan.UpstreamTls | None) -> plan.Cluster:
    """A cluster towards the control plane."""
    discovery: plan.Discovery
    try:
        address = plan.Socket(str(ipaddress.ip_address(host)), port)
        discovery = plan.StaticDiscovery(_one(address))
    except ValueError:
        discovery = plan.StrictDnsDiscovery(_one(plan.NamedAddress(host, port)), 5_000, respect_ttl=False)
    http2 = plan.Http2Options(
        keepalive_interval=KEEPALIVE_INTERVAL_MS, keepalive_timeout=KEEPALIVE_TIMEOUT_MS
    )
    return plan.Cluster(
        name,
        discovery,
        connect_timeout=CONNECT_MS,
        http=plan.UpstreamHttp(protocol="http2", http2=http2, idle_timeout=None),
        tls=tls,
    )


def _one(address: plan.Address) -> tuple[plan.LocalityEndpoints, ...]:
    return (plan.LocalityEndpoints(plan.Locality(), 0, 1, (plan.Endpoint(address),)),)


def first_contact(host: str, port: int) -> plan.Cluster:
    """For the question for the roots alone: nobody is verified."""
    return cluster_of(FIRST_CLUSTER, host, port, _tls(None, "", leaf=False))


def joining(host: str, port: int, server: str) -> plan.Cluster:
    """The server is verified; we have nothing to show yet."""
    return cluster_of(JOIN_CLUSTER, host, port, _tls(ROOTS, server, leaf=False))


def joined(name: str, host: str, port: int, server: str) -> plan.Cluster:
    """Both sides are verified: for configuration and renewal."""
    return cluster_of(name, host, port, _tls(ROOTS, server, leaf=True))


def _tls(roots: str | None, server: str, *, leaf: bool) -> plan.UpstreamTls:
    names = plan.AlternativeNames((plan.StringMatch(plan.ExactText(server)),) if server else ())
    return plan.UpstreamTls(
        certificates=(LEAF,) if leaf else (),
        validation=roots,
        alternative_names=names,
        server_name=SERVER_NAME,
        auto_server_name=False,
        auto_san_validation=False,
        application_protocols=("h2",),
    )


def probe_name(origin: str) -> str:
    """Name of the cluster of a probe of the sidecar's own."""
    return f"{PROBE_PREFIX}{origin}"


def probe_cluster(probe: Probe, port: int, origin: str = SETTINGS) -> plan.Cluster:
    """The application, to be asked for its health; `origin`: who wants to know."""
    check: plan.HealthCheckKind = (
        plan.HttpHealthCheck("", probe.path, (), ((200, 400),), http2=False)
        if probe.path
        else plan.TcpHealthCheck()
    )
    return plan.Cluster(
        probe_name(origin),
        plan.StaticDiscovery(_one(plan.Socket(probe.host, port))),
        health_checks=(
            plan.HealthCheck(
                check, probe.timeout, probe.period, 0, 1, probe.failures, plan.Fraction(100, 100)
            ),
        ),
    )


def local_workload(settings: SidecarSettings) -> plan.LocalWorkload:
    """What metrics say of our own side, in Istio's labels."""
    labels: Mapping[str, str] = labels_of(settings)
    app = labels.get("app", settings.workload)
    version = labels.get("version", "")
    return plan.LocalWorkload(
        name=settings.workload,
        namespace=settings.namespace,
        principal=f"spiffe://{settings.trust_domain}/ns/{settings.namespace}/sa/{settings.service_account}",
        app=app,
        version=version,
        canonical_name=labels.get("service.istio.io/canonical-name", app),
        canonical_revision=labels.get("service.istio.io/canonical-revision", version or "latest"),
        cluster=settings.cluster,
    )
